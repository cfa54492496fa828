"""Composed phrases, and their recordings as excerpts and splits."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers.soundfont import one_preset
from timbre_jax.data.importers.phrases import PhraseImporter
from timbre_jax.data.prepare.build import build_store
from timbre_jax.soundfont.banks import open_bank
from timbre_jax.soundfont.parser import SoundFontError
from timbre_jax.soundfont.phrases import compose
from timbre_jax.soundfont.player import RATE, ControllerCurves, render_note


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    """Returns a preset that plays a looped sine."""
    return one_preset(tmp_path_factory.mktemp("bank") / "one.sf2")


def small(bank, **settings):
    options = {"number": 4, "recording_seconds": 5.0, "seconds": 2.0, "sample_rate": 16000, "program": ("tone",)}
    return PhraseImporter((str(bank),), **{**options, **settings})


def test_phrases_are_reproducible_by_number():
    one, again, other = (compose(seed=0, number=number, seconds=20) for number in (3, 3, 4))
    assert [(note.start, note.key, note.velocity) for note in one] == [(note.start, note.key, note.velocity) for note in again]
    assert [note.key for note in one] != [note.key for note in other]
    for note in one:
        assert 55 <= note.key <= 91
        assert 1 <= note.velocity <= 127
        assert note.start < 20
    longer = compose(seed=0, number=3, seconds=40)
    assert [note.key for note in longer[: len(one) - 12]] == [note.key for note in one[: len(one) - 12]]


def test_pitch_and_loudness_have_wide_ranges_and_are_independent():
    notes = [note for number in range(30) for note in compose(seed=1, number=number, seconds=30)]
    keys = np.array([note.key for note in notes])
    assert keys.max() - keys.min() >= 30
    levels = np.array([note.curves.level.mean() + 40 * np.log10(note.velocity / 127) for note in notes])
    assert np.percentile(levels, 95) - np.percentile(levels, 5) > 30
    assert abs(np.corrcoef(keys, levels)[0, 1]) < 0.1
    glides = [note for note in notes if np.abs(note.curves.bend).max() > 90]
    assert 0.05 < len(glides) / len(notes) < 0.6
    cutoffs = np.array([np.log(note.curves.cutoff.mean()) for note in notes])
    assert 0.05 < np.corrcoef(levels, cutoffs)[0, 1] < 0.8  # brightness follows loudness in part


def test_controller_curves_change_pitch_level_and_brightness(bank):
    opened = open_bank(str(bank))
    still = render_note(opened, opened.presets[0], 69, 100, held=1.0, seconds=1.0).wave
    times = np.array([0.0, 1.0])
    open_filter, rest = np.full(2, 20000.0), np.zeros(2)
    same = ControllerCurves(times, rest, rest, open_filter)
    np.testing.assert_allclose(
        render_note(opened, opened.presets[0], 69, 100, held=1.0, seconds=1.0, curves=same).wave, still, atol=1e-4
    )

    def played(bend=rest, level=rest, cutoff=open_filter):
        curves = ControllerCurves(times, bend, level, cutoff)
        return render_note(opened, opened.presets[0], 69, 100, held=1.0, seconds=1.0, curves=curves).wave

    def crossings(wave, part):
        return np.count_nonzero(np.diff(np.signbit(wave[part]))) / (len(wave[part]) / RATE) / 2

    middle = slice(RATE // 4, RATE // 2)
    assert crossings(played(bend=np.full(2, 1200.0)), middle) == pytest.approx(2 * crossings(still, middle), rel=0.02)
    quieter = played(level=np.full(2, -20.0))
    assert np.std(quieter[middle]) == pytest.approx(0.1 * np.std(still[middle]), rel=0.02)
    assert np.std(played(cutoff=np.full(2, 100.0))[middle]) < 0.2 * np.std(still[middle])


def test_recordings_are_cut_into_excerpts_of_one_split(bank, tmp_path):
    source = small(bank)
    records = source.plan()
    assert len(records) == 12  # recordings of 5 s give excerpts of 2, 2 and 1 s
    by_recording = {
        record.instrument: {other.split for other in records if other.instrument == record.instrument} for record in records
    }
    assert len(by_recording) == 4
    assert all(len(splits) == 1 for splits in by_recording.values())
    store = build_store(source, tmp_path / "made", workers=1, progress=False)
    assert set(store.splits) == {"train", "valid", "test"}
    lengths = np.concatenate([store.lengths(split) for split in store.splits])
    assert set(np.round(lengths / 16000, 3)) == {2.0, 1.0}
    whole = np.concatenate([source.load(record, None).wave for record in records[:3]])
    assert len(whole) == 80000
    assert 0.01 < np.abs(whole).max() <= 1.0
    assert source.load(records[0], None).remarks[0].startswith("turned down by ")  # the sine of the bank is at full scale


def test_phrases_do_not_depend_on_the_sample_rate(bank):
    low, high = (small(bank, sample_rate=rate) for rate in (16000, 32000))
    a, b = (source.load(source.plan()[1], None).wave for source in (low, high))
    assert len(b) == 2 * len(a)
    np.testing.assert_allclose(np.sqrt(np.mean(a**2)), np.sqrt(np.mean(b**2)), rtol=0.02)


def test_programs_are_selected_by_name_or_number(bank):
    assert small(bank, program=("0",)).presets() == small(bank, program=("Tone",)).presets() == [(0, 0)]
    with pytest.raises(SoundFontError, match=r"program=viola: no preset of one\.sf2 has this name or number \(presets are"):
        small(bank, program=("viola",)).plan()
    with pytest.raises(ValueError, match="number=2: must be at least 3"):
        small(bank, number=2)
    with pytest.raises(ValueError, match="pitches=60-65: must span"):
        small(bank, pitches=(60, 65))
    with pytest.raises(ValueError, match="seconds=9: must be at most recording_seconds=5"):
        small(bank, seconds=9.0)
