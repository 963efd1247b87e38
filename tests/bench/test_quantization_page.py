"""The tables and the picture of the page on quantization."""

from xml.etree import ElementTree

import pytest

from bench import quantization_page

ROWS = [
    {"name": "F16", "size": 46_000_000, "bits": 16.1, "cosine": 1.0, "worst": 1.0},
    {"name": "Q4_K_M", "size": 21_000_000, "bits": 7.3, "cosine": 0.992, "worst": 0.985},
]


def test_the_picture_is_svg_with_a_dot_and_a_name_for_each_within_its_frame() -> None:
    root = ElementTree.fromstring(quantization_page.picture(ROWS))
    space = "{http://www.w3.org/2000/svg}"
    dots = [(float(dot.attrib["cx"]), float(dot.attrib["cy"])) for dot in root.iter(f"{space}circle")]
    assert dots[0][0] > dots[1][0]
    assert dots[0][1] > dots[1][1], "more loss lies higher"
    assert all(0 < x < quantization_page.WIDTH and 0 < y < quantization_page.HEIGHT for x, y in dots)
    assert {"F16", "Q4_K_M"} <= {text.text for text in root.iter(f"{space}text")}


def test_only_the_measured_block_of_the_page_changes() -> None:
    page = "before\n<!-- x -->\nold\n<!-- end of x -->\nafter\n"
    assert quantization_page.replaced(page, r"new \1", name="x") == "before\n<!-- x -->\nnew \\1\n<!-- end of x -->\nafter\n"
    with pytest.raises(ValueError, match="<!-- y -->"):
        quantization_page.replaced(page, "new", name="y")


def test_the_reference_has_no_change() -> None:
    rows = [{**row, "perplexity": 26.0, "change": 0.5, "error": 0.1, "same": 96.0, "decode": 70.0, "prefill": 900.0} for row in ROWS]
    first, second = quantization_page.table(rows).splitlines()[2:]
    assert "reference" in first
    assert "+0.50 % ± 0.10" in second
