"""The pictures of docs/ show what the code draws now."""

import re
import xml.etree.ElementTree as ET

import pytest

from tests.lab.pictures import DOCS, drawn


@pytest.mark.parametrize("name", ["top.svg", "page.svg"])
def test_a_picture_is_drawn_by_the_code_as_it_is(name: str) -> None:
    """`python -m tests.lab.pictures`; it loads nothing and runs nothing."""
    text = (DOCS / name).read_text()
    assert drawn()[name] == text
    ET.fromstring(text)
    assert not re.search(r"url\((?!#)|<script|href=", text)
    said = re.sub(r"<[^>]*>", "", text).replace("&#160;", " ")
    assert "server 10.0.0.0:8502 does not answer" in said
