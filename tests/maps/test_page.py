"""Tests of the page of a map: escaped names, no network access, and spectrograms."""

from __future__ import annotations

import base64
import html.parser
import io
import json

import numpy as np
import pytest
import soundfile

from tests.helpers.sounds import harmonic_tone
from timbre_jax.maps.figures import grid_figure, map_figure
from timbre_jax.maps.page import class_colors, compressed_uri, grid_tiles, map_page
from timbre_jax.report.plots import save_png
from timbre_jax.report.spectrogram import spectrogram_image

NASTY = ["</script><script>alert(1)</script>", "a & b < c > \"d\" 'e'", "снэйр 🥁 \u2028", "x" * 5000, "$\\frac{$", ""]


class Scripts(html.parser.HTMLParser):
    """Parser that collects the scripts of a page and the addresses that it would fetch."""

    def __init__(self):
        super().__init__()
        self.scripts, self.addresses, self._inside = [], [], False

    def handle_starttag(self, tag, attributes):
        self._inside = tag == "script"
        if self._inside:
            self.scripts.append("")
        self.addresses += [value for name, value in attributes if name in ("src", "href") and value is not None]

    def handle_endtag(self, tag):
        self._inside = False

    def handle_data(self, data):
        if self._inside:
            self.scripts[-1] += data


def test_names_of_any_kind_are_unchanged():
    classes, ids = class_colors(NASTY)
    sounds = [{"name": name, "x": 0.5, "y": 0.5, "class": int(c)} for name, c in zip(NASTY, ids, strict=True)]
    parser = Scripts()
    parser.feed(map_page(NASTY[0], NASTY[1], sounds=sounds, classes=classes, footer=NASTY[2], served=True))
    assert len(parser.scripts) == 2
    data = json.loads(parser.scripts[0])
    assert [sound["name"] for sound in data["sounds"]] == NASTY
    assert {c["name"] for c in data["classes"]} == {*NASTY[:-1], "unlabeled"}
    assert all(address.startswith("data:") for address in parser.addresses)


def test_non_finite_numbers_are_an_error():
    with pytest.raises(ValueError, match="JSON"):
        map_page("t", "l", sounds=[{"name": "a", "x": float("nan"), "y": 0.0, "class": 0}], classes=[])


def test_compressed_sound_keeps_its_pitch_and_length():
    wave = harmonic_tone(440.0, [0.3], length=48000, rate=16000).astype(np.float32)
    kind, data = compressed_uri(wave, 16000).split(",")
    assert kind == "data:audio/mpeg;base64"
    decoded, rate = soundfile.read(io.BytesIO(base64.b64decode(data)))
    assert rate == 16000
    assert 2.0 <= len(decoded) / rate < 2.3
    spectrum = np.abs(np.fft.rfft(decoded[8000:24000]))
    assert np.argmax(spectrum) == pytest.approx(440, abs=1.5)


def test_spectrogram_of_a_sine_has_a_maximum_at_its_frequency():
    rate, rows = 16000, 96
    time = np.arange(rate) / rate
    image = spectrogram_image(np.sin(2 * np.pi * 1000 * time).astype(np.float32), rate, rows=rows, columns=50)
    assert image.shape == (rows, 50)
    centers = np.geomspace(40, 8000, rows + 2)[1:-1][::-1]
    assert centers[image[:, 25].argmax()] == pytest.approx(1000, rel=0.06)
    assert image[:, 25].max() == 255
    assert image[5, 25] == 0
    assert not spectrogram_image(np.zeros(100), rate).any()
    assert spectrogram_image(np.zeros(0), rate).shape == (96, 160)


def test_grid_has_a_tile_for_each_sound():
    waves = np.random.default_rng(0).normal(size=(4, 4000)).astype(np.float32) * 0.1
    tiles = grid_tiles(np.zeros((4, 2)), np.arange(4.0), waves, 16000, audio=True)
    assert tiles["size"] == 2
    assert [tile["distance"] for tile in tiles["tiles"]] == [0, 1, 2, 3]
    assert len(base64.b64decode(tiles["tiles"][0]["picture"])) == tiles["rows"] * tiles["columns"]
    assert len(grid_figure(waves, 16000).axes) == 4


@pytest.mark.filterwarnings("ignore:Glyph")  # the font may lack the emoji
def test_figure_draws_names_of_any_kind(tmp_path):
    figure = map_figure(np.random.default_rng(0).random((6, 2)), np.array(NASTY), title=NASTY[4])
    assert save_png(figure, tmp_path / "map.png")
    texts = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert max(map(len, texts)) < 40
