"""The page is one file that needs nothing else, whatever stands in the names."""

from __future__ import annotations

import base64
import io
import re
import wave
from html.parser import HTMLParser

import numpy as np
import pytest

from timbre_jax.metrics.table import Table
from timbre_jax.report import page
from timbre_jax.report.players import player, player_rows, wav_bytes


class Balance(HTMLParser):
    """Every tag that is opened is closed in order."""

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


def document() -> str:
    data = Table("t", ("class", "value"), (("<b>flute</b>", 1.5),), "Values & their `code`.")
    sound = np.zeros(800, np.float32)
    return page.page(
        'A space "x" <script>alert(1)</script>',
        "Lead with **weight**.",
        [
            page.Section("Numbers", (page.table(data), page.table(data, folded=True), page.numbers([("MSE", "1", "<2")]))),
            page.Section("Numbers", (page.text("One.", "Two."), page.note("Not & here"), page.subtitle("Sub"))),
            page.Section("Sounds", (player(sound, 8000, 'a"b'), player_rows([("row", [("1", sound)])], 8000))),
            page.Section("Picture", (page.picture(b"\x89PNG", alt='a "quote"', caption="Below"),)),
        ],
        footer="End",
    )


def test_tags_are_balanced_and_names_are_text():
    text = document()
    parser = Balance()
    parser.feed(text)
    assert parser.open == []
    assert "<script>alert" not in text
    assert "&lt;b&gt;flute&lt;/b&gt;" in text
    assert "<code>code</code>" in text
    assert "<b>weight</b>" in text


def test_nothing_is_fetched_and_every_link_has_its_place():
    text = document()
    for address in re.findall(r"""(?:src|href|data-sound)=["']([^"']*)""", text):
        assert address.startswith(("data:", "#"))
        if address.startswith("#"):
            assert f'id="{address[1:]}"' in text
    assert re.findall(r'href="#([^"]+)"', text) == ["numbers", "numbers-2", "sounds", "picture"]
    assert "url(" not in text
    assert "@import" not in text


def test_the_page_suits_dark_screens_and_phones():
    text = document()
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text


def test_wav_bytes_are_what_was_given():
    rate, sound = 8000, np.array([0.0, 0.5, -0.5, 2.0, -2.0], np.float32)
    with wave.open(io.BytesIO(wav_bytes(sound, rate))) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, rate)
        samples = np.frombuffer(file.readframes(5), "<i2")
    assert samples.tolist() == [0, 16384, -16384, 32767, -32767]


def test_a_cut_sound_fades_out():
    sound = np.ones(16000, np.float32)
    data = wav_bytes(sound, 16000, seconds=0.5)
    with wave.open(io.BytesIO(data)) as file:
        assert file.getnframes() == 8000
        samples = np.frombuffer(file.readframes(8000), "<i2")
    assert samples[7000] == 32767
    assert samples[-1] == 0


def test_a_player_holds_its_sound():
    text = player(np.full(10, 0.25, np.float32), 8000, "note", large=True)
    data = base64.b64decode(re.search(r"base64,([^\"]+)", text)[1])
    with wave.open(io.BytesIO(data)) as file:
        assert np.frombuffer(file.readframes(10), "<i2").tolist() == [8192] * 10
    with pytest.raises(ValueError, match="one finite channel"):
        wav_bytes(np.zeros((2, 10)), 8000)
    with pytest.raises(ValueError, match="one finite channel"):
        wav_bytes(np.array([np.nan]), 8000)
