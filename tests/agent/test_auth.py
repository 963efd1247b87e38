"""Keys, origins and hosts."""

import ipaddress
import os

import pytest

from vllama_agent import auth, cors
from vllama_core.config import AgentConfig
from vllama_core.errors import ConfigError


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "keys"
    path.write_text("# people\nalpha\n\n  beta  \n")
    return path


def test_every_line_is_a_key(file):
    keys = auth.KeyFile(file)
    assert [keys.knows(key) for key in ("alpha", "beta", "# people", "", "gamma", "ключ")] == [True, True, False, False, False, False]
    assert "alpha" not in repr(keys)


def test_a_replaced_file_counts_at_once(file, tmp_path):
    keys = auth.KeyFile(file)
    fresh = tmp_path / "fresh"
    fresh.write_text("gamma\n")
    os.replace(fresh, file)
    assert keys.knows("gamma")
    assert not keys.knows("alpha")


def test_a_file_that_vanishes_or_empties_keeps_the_old_keys(file, caplog):
    keys = auth.KeyFile(file)
    file.write_text("")
    assert keys.knows("alpha")
    file.unlink()
    assert keys.knows("alpha")
    assert not keys.knows("gamma")
    assert "holds no key" in caplog.text
    assert "alpha" not in caplog.text


@pytest.mark.parametrize("content", [None, "", "# nothing\n"])
def test_a_file_without_keys_at_start_is_an_error(tmp_path, content):
    path = tmp_path / "keys"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match="API key file"):
        auth.KeyFile(path)


def test_an_open_server_on_the_network_must_be_asked_for(file):
    with pytest.raises(ConfigError, match=r"--api-key-file.*--no-auth"):
        auth.keys_of(AgentConfig(host="0.0.0.0"))
    assert auth.keys_of(AgentConfig(host="0.0.0.0", no_auth=True)) is None
    assert auth.keys_of(AgentConfig()) is None
    assert auth.keys_of(AgentConfig(host="0.0.0.0", api_key_file=file)) is not None


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({"Authorization": "Bearer k"}, "k"),
        ({"Authorization": "bearer  k "}, "k"),
        ({"x-api-key": "k"}, "k"),
        ({"Authorization": "Basic k"}, None),
        ({"Authorization": "Bearer "}, None),
        ({}, None),
    ],
)
def test_where_a_key_is_looked_for(headers, key):
    assert auth.presented_key(headers) == key


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://localhost", True),
        ("https://localhost:3000", True),
        ("http://127.0.0.1:8080", True),
        ("app://obsidian.md", True),
        ("vscode-webview://x", True),
        ("https://mine.example", True),
        ("https://a.wild.example", True),
        ("https://evil.example", False),
        ("http://localhost.evil.example", False),
        ("http://127x0x0x1", False),
        ("chrome-extension://x", False),
        ("null", False),
    ],
)
def test_origins(origin, allowed):
    assert cors.Origins(("https://mine.example", "https://*.wild.example")).allows(origin) is allowed


def test_a_lone_star_allows_all():
    assert cors.Origins(("*",)).allows("https://evil.example")


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("localhost:11434", True),
        ("127.0.0.1", True),
        ("[::1]:11434", True),
        ("::1", True),
        ("192.168.1.5:11434", True),
        ("0.0.0.0", True),
        ("", True),
        ("box.local", True),
        ("x.localhost", True),
        ("svc.internal:1", True),
        ("evil.example", False),
        ("8.8.8.8", False),
        ("[2001:4860:4860::8888]:11434", False),
        ("localhost.evil.example", False),
    ],
)
def test_hosts(host, local):
    assert cors.host_is_local(host) is local


def test_an_address_of_an_interface_is_our_own():
    assert cors.is_own(ipaddress.ip_address("127.0.0.1"))
    assert not cors.is_own(ipaddress.ip_address("8.8.8.8"))


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.0.0.2", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False), ("box", False)],
)
def test_what_only_this_machine_can_reach(host, loopback):
    assert AgentConfig(host=host).loopback is loopback
