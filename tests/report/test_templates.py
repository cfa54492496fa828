"""Tests that a page is one self-contained file with escaped names."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import jinja2
import numpy as np
import pytest

from timbre_jax.metrics.table import Table
from timbre_jax.report import templates

PAGE = """{% extends "page.html.j2" %}
{% import "blocks.html.j2" as part with context %}
{% block main %}
{% call part.section("Numbers") %}{{ part.table(data) }}{{ part.folded(data, "values") }}
{{ part.numbers([("MSE", "1", "<2")]) }}{% endcall %}
{% call part.section("Numbers") %}<p>One.</p><p class="note">{{ "Not & here" | inline }}</p>{% endcall %}
{% call part.section("Sounds") %}{{ part.player(sound, 8000, 'a"b') }}{{ part.players({'a"b': sound}, 8000) }}
{{ part.player_rows([("row", {"1": sound})], 8000) }}{% endcall %}
{% call part.section("Picture") %}{{ part.picture(images, "png", 'a "quote"') }}
{{ part.picture(images, "none", "x") }}{% endcall %}
{% endblock %}
"""


class Balance(HTMLParser):
    """Parser that checks that tags are closed in order."""

    void = ("meta", "img", "br", "hr", "link", "input")

    def __init__(self):
        super().__init__()
        self.open, self.words = [], []

    def handle_starttag(self, tag, attrs):
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def text() -> str:
    values = {
        "title": 'A space "x" <script>alert(1)</script>',
        "lead": "Lead with **bold**.",
        "footer": "End",
        "data": Table("t", ("class", "value"), (("<b>flute</b>", 1.5),), "Values & their `code`."),
        "sound": np.zeros(800, np.float32),
        "images": {"png": b"\x89PNG"},
        "contents": templates.Contents(),
    }
    return templates.environment().from_string(PAGE).render(values)


def test_tags_are_balanced_and_names_are_escaped(text):
    parser = Balance()
    parser.feed(text)
    assert parser.open == []
    assert text.startswith("<!doctype html>")
    assert "<script>alert" not in text
    assert "&lt;b&gt;flute&lt;/b&gt;" in text
    assert "<code>code</code>" in text
    assert "<b>bold</b>" in text
    assert text.count("<img") == 1


def test_page_fetches_nothing_and_links_have_targets(text):
    for address in re.findall(r"""(?:src|href|data-sound)=["']([^"']*)""", text):
        assert address.startswith(("data:", "#"))
        if address.startswith("#"):
            assert f'id="{address[1:]}"' in text
    assert re.findall(r'href="#([^"]+)"', text) == ["numbers", "numbers-2", "sounds", "picture"]
    assert "url(" not in text
    assert "@import" not in text


def test_page_supports_dark_mode_and_phones(text):
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text
    assert 'content: "\\25B6\\FE0E"' in text


def test_missing_value_and_missing_file_are_errors():
    with pytest.raises(jinja2.UndefinedError, match="title"):
        templates.environment().from_string(PAGE).render(contents=templates.Contents())
    with pytest.raises(FileNotFoundError, match=r"no static file none\.css"):
        templates.static("none.css")
