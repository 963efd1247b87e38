"""OLLAMA_HOST in all its forms."""

import pytest

from vllama_core import address


@pytest.mark.parametrize(
    ("text", "host", "port", "connectable"),
    [
        ("", "127.0.0.1", 11434, "127.0.0.1"),
        ("1.2.3.4", "1.2.3.4", 11434, "1.2.3.4"),
        ("example.com:8080", "example.com", 8080, "example.com"),
        (":8080", "", 8080, "127.0.0.1"),
        ("0.0.0.0", "0.0.0.0", 11434, "127.0.0.1"),
        ("[::1]", "::1", 11434, "::1"),
        ("[::]:80", "::", 80, "::1"),
        ("::1", "::1", 11434, "::1"),
        ("http://example.com", "example.com", 80, "example.com"),
        ("https://example.com", "example.com", 443, "example.com"),
        ("http://example.com:1234/", "example.com", 1234, "example.com"),
    ],
)
def test_forms(text: str, host: str, port: int, connectable: str) -> None:
    found = address.parse(text)
    assert (found.host, found.effective_port, found.connectable) == (host, port, connectable)


def test_a_proxy_may_put_a_path_before_the_routes() -> None:
    assert address.parse("https://example.com/ollama/").path == "/ollama"


@pytest.mark.parametrize("text", ["a b", "host:port", "host:99999", "ftp://host", "http://host?x", "[::1", "a:1:b"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="it must be an address such as"):
        address.parse(text)
