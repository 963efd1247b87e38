"""Ollama's options: what is taken, cut, ignored and refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllama_agent.apis import keep_alive, options
from vllama_agent.engines.base import Sampling
from vllama_core.errors import InvalidRequest

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


def test_absent_options_are_ollamas_defaults():
    assert options.parse(None) == options.parse({}) == options.Options(sampling=Sampling())


@pytest.mark.parametrize(
    ("given_options", "expected"),
    [
        ({"num_predict": -1}, {"max_tokens": None}),
        ({"num_predict": -2}, {"max_tokens": None}),
        ({"num_predict": 0}, {"max_tokens": None}),
        ({"num_predict": 7.9}, {"max_tokens": 7}),
        ({"num_ctx": 1}, {"num_ctx": 4}),
        ({"num_ctx": 0}, {"num_ctx": None}),
        ({"num_ctx": 2048}, {"num_ctx": 2048}),
        ({"num_keep": -1}, {"num_keep": -1}),
        ({"stop": ["a", "", "b"]}, {"stop": ("a", "b")}),
        ({"temperature": None}, {}),
    ],
)
def test_limits(given_options, expected):
    assert options.parse(given_options) == options.Options(**expected)


@pytest.mark.parametrize(
    ("given_options", "expected"),
    [
        ({"temperature": 0}, {"temperature": 0.0}),
        ({"top_k": 20.7}, {"top_k": 20}),
        ({"top_k": -1}, {"top_k": -1}),
        ({"repeat_last_n": -1}, {"repeat_last_n": -1}),
        ({"seed": -1}, {"seed": None}),
        ({"seed": 0}, {"seed": 0}),
        ({"seed": -2}, {"seed": 2**32 - 2}),
        ({"seed": 2**32 + 5}, {"seed": 5}),
        ({"mirostat": 2, "mirostat_tau": 4}, {"mirostat": 2, "mirostat_tau": 4.0}),
        ({"logit_bias": {"12": -3}}, {"logit_bias": ((12, -3.0),)}),
    ],
)
def test_sampling(given_options, expected):
    assert options.parse(given_options).sampling == Sampling(**expected)


@pytest.mark.parametrize(
    "given_options",
    [
        {"temperature": "hot"},
        {"temperature": -0.1},
        {"temperature": True},
        {"top_p": 1.5},
        {"min_p": -1},
        {"repeat_penalty": 0},
        {"repeat_penalty": 1e4},
        {"presence_penalty": -101},
        {"frequency_penalty": 1e300},
        {"num_predict": -3},
        {"num_predict": "5"},
        {"num_predict": 1e300},
        {"num_predict": float("inf")},
        {"mirostat": 3},
        {"stop": "word"},
        {"stop": [1]},
        {"num_batch": "many"},
        {"use_mmap": 1},
        {"logit_bias": {"x": 1}},
        {"logit_bias": {"1": 101}},
        {"logit_bias": [1]},
    ],
)
def test_refusals_name_the_option_and_what_is_allowed(given_options):
    (name,) = given_options
    with pytest.raises(InvalidRequest) as caught:
        options.parse(given_options)
    assert f"options.{name}" in str(caught.value)
    assert "must be" in str(caught.value)
    assert caught.value.field is not None


def test_ignored_options_are_named_once_and_safely():
    parsed = options.parse({"num_gpu": 1, "numa": True, "tfs_z": 1.0, "evil\r\nX-Header": 1, "top_k": 5, "low_vram": None})
    assert parsed.ignored == ("num_gpu", "numa", "tfs_z")


@given(st.dictionaries(st.sampled_from(sorted(options.TABLE)) | st.text(), JSON) | JSON)
def test_anything_is_options_or_an_invalid_request(value):
    try:
        parsed = options.parse(value)
    except InvalidRequest:
        return
    assert all(name.isascii() for name in parsed.ignored)
    assert parsed.sampling.seed is None or 0 <= parsed.sampling.seed < 2**32


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        (0, 0.0),
        (1.5, 1.5),
        (-1, keep_alive.NEVER),
        ("0", 0.0),
        ("0s", 0.0),
        ("10m", 600.0),
        ("1h30m", 5400.0),
        ("1.5h", 5400.0),
        ("300ms", 0.3),
        ("-1m", keep_alive.NEVER),
        ("9999999h", keep_alive.NEVER),
        (1e300, keep_alive.NEVER),
    ],
)
def test_keep_alive(value, seconds):
    assert keep_alive.parse(value) == seconds


@pytest.mark.parametrize("value", ["300", "-1", "", "m", "1 m", "1x", True, [], {}, "٣s", "1m" * 99])
def test_keep_alive_refuses(value):
    with pytest.raises(InvalidRequest, match="keep_alive"):
        keep_alive.parse(value)


@given(JSON)
def test_any_keep_alive_is_seconds_or_an_invalid_request(value):
    try:
        seconds = keep_alive.parse(value)
    except InvalidRequest:
        return
    assert seconds is None or seconds >= 0
