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
    found = [keys.find(key) is not None for key in ("alpha", "beta", "# people", "", "gamma", "ключ")]
    assert found == [True, True, False, False, False, False]
    assert "alpha" not in f"{keys!r} {keys.find('alpha')!r}"


def test_a_replaced_file_counts_at_once(file, tmp_path):
    keys = auth.KeyFile(file)
    fresh = tmp_path / "fresh"
    fresh.write_text("gamma\n")
    os.replace(fresh, file)
    assert keys.find("gamma")
    assert not keys.find("alpha")


def test_a_file_that_vanishes_or_empties_keeps_the_old_keys(file, caplog):
    keys = auth.KeyFile(file)
    file.write_text("")
    assert keys.find("alpha")
    file.unlink()
    assert keys.find("alpha")
    assert not keys.find("gamma")
    assert "holds no key" in caplog.text
    assert "is gone" in caplog.text
    assert "alpha" not in caplog.text


def test_a_wrong_line_keeps_the_old_keys_and_is_told_once(file, caplog):
    keys = auth.KeyFile(file)
    file.write_text("gamma concurrency=0\n")
    assert [keys.find("alpha") is not None for _ in range(3)] == [True] * 3
    assert caplog.text.count("stays valid") == 1


def test_a_key_may_have_a_name_and_limits(tmp_path):
    file = tmp_path / "keys"
    file.write_text("alpha name=team-a concurrency=4 tokens-per-minute=60000\nbeta\tname=b\ngamma name=b\ndelta\n")
    keys = auth.KeyFile(file)
    assert keys.find("alpha") == auth.Key(b"alpha", "team-a", auth.Limits(concurrency=4, tokens_per_minute=60000))
    assert [keys.find(key).name for key in ("beta", "gamma", "delta")] == ["b", "b", "unnamed"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("k 5ecret", "line 1: behind a key stand options"),
        ("\n# a\nk name=n x=5ecret", "line 3: behind a key stand options"),
        ("k concurrency=4", "line 1: limits need a name"),
        ("k name=n concurrency=0", "line 1: concurrency is '0'; it must be a whole number, at least 1"),
        ("k name=n concurrency=-1", "concurrency is '-1'"),
        ("k name=n tokens-per-minute=1e3", "tokens-per-minute is '1e3'"),
        ("k name=n concurrency=" + "9" * 5000, "whole number"),
        ("k name=", "a name has at most 64"),
        ("k name=unnamed", "is not 'unnamed'"),
        ('k name=a"b', "a name has at most 64"),
        ("k name=n name=m", "line 1: an option stands there twice"),
        ("k\nk", "line 2: this key stands on line 1 already"),
        ("k name=n concurrency=1\nl name=n", "line 2: the limits of n are others on line 1"),
        (b"k \xff", "behind a key stand options"),
    ],
)
def test_a_wrong_line_is_named_without_what_may_be_a_key(tmp_path, content, words):
    file = tmp_path / "keys"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError) as caught:
        auth.KeyFile(file)
    assert words in str(caught.value)
    assert str(file) in str(caught.value)
    assert "5ecret" not in str(caught.value)


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
