"""Tests of stores of recordings and phrases."""

import numpy as np
import pytest
import soundfile

from experiments.prepare import training_config
from tests.helpers.soundfont import one_preset
from timbre_jax.data.prepare.make_store import IMPORTERS, prepare
from timbre_jax.data.prepare.summary import describe_store


def test_recordings_are_cut_into_excerpts(tmp_path):
    (tmp_path / "takes").mkdir()
    generator = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        soundfile.write(tmp_path / "takes" / f"{name}.wav", 0.1 * generator.standard_normal((30000, 2)), 24000)
    (tmp_path / "takes" / "d.wav").write_text("no sound")
    store = prepare(
        out=str(tmp_path / "made"), source="recordings", path=[str(tmp_path / "takes")], sample_rate=24000, seconds=0.5,
        workers=1, progress=False,
    )  # fmt: skip
    assert [store.length(split) for split in ("train", "valid", "test")] == [3, 3, 3]
    assert store.sample_rate == 24000
    text = describe_store(store)
    assert "24000 Hz, 0.250 to 0.50 s" in text
    assert "kept 9 of 10 sounds; left out: 1 unreadable" in text


@pytest.mark.parametrize(
    ("source", "settings", "config"),
    [
        ("phrases", {"sample_rate": 24000}, "caillon2020_continuous"), ("recordings", {}, "caillon2020_discrete"),
        ("folder", {"seconds": 0.0}, "library_any_length"), ("kits", {}, "library_best"), ("soundfont", {}, "notes_best"),
    ],
)  # fmt: skip
def test_suggested_configuration_fits_the_store(source, settings, config):
    assert training_config(source, IMPORTERS[source](**settings)) == config


def test_phrases_are_rendered_and_the_store_is_reused(tmp_path):
    bank = one_preset(tmp_path / "one.sf2")
    options = {
        "source": "phrases",
        "path": [str(bank)],
        "program": ["tone"],
        "number": 3,
        "recording_seconds": 2.0,
        "seconds": 1.0,
    }
    store = prepare(out=str(tmp_path / "made"), sample_rate=16000, pitches=[60, 72], workers=1, progress=False, **options)
    assert sum(store.length(split) for split in store.splits) == 6
    assert store.index["settings"]["source"]["keys"] == [60, 72]
    again = prepare(out=str(tmp_path / "made"), sample_rate=16000, pitches=[60, 72], workers=1, progress=False, **options)
    assert again.index["fingerprint"] == store.index["fingerprint"]
    with pytest.raises(ValueError, match="families: not a setting of source=phrases"):
        prepare(out=str(tmp_path / "other"), families=["string"], **options)
