from collections import Counter

import numpy as np
import pytest

from tests.helpers.soundfont import sine_sample, write_soundfont
from timbre_jax.data.importers.base import FAMILIES, SOURCES
from timbre_jax.data.importers.soundfont import FAMILY_OF_PROGRAM, SoundFontSource, source_of_program
from timbre_jax.soundfont import parser
from timbre_jax.soundfont.banks import default_bank


def bank_of(path, wiring, *, frequencies=(441.0, 882.0, 1470.0, 1764.0)):
    """Presets (bank, program, [samples]) over shared sine samples."""
    zone = {parser.SAMPLE_MODES: 1}
    return str(
        write_soundfont(
            path,
            samples=[sine_sample(hertz, seconds=0.2) for hertz in frequencies],
            instruments=[[{**zone, "sample": sample} for sample in held] for _, _, held in wiring],
            presets=[
                {"name": f"Preset {n}", "bank": bank, "program": program, "zones": [{"instrument": n}]}
                for n, (bank, program, _) in enumerate(wiring)
            ],
        )
    )


WIRING = [(0, 0, [0]), (0, 24, [0, 1]), (0, 33, [1]), (0, 73, [2]), (8, 40, [3]), (128, 0, [2]), (0, 100, [3])]


def test_presets_that_share_samples_are_one_instrument(tmp_path):
    source = SoundFontSource(path=(bank_of(tmp_path / "b.sf2", WIRING),))
    entries = source.presets()
    # Percussion (bank 128) and sound effects (program 100) are not there, so they join nothing either.
    assert [(e.preset.program, e.family) for e in entries] == [
        (0, "keyboard"), (24, "guitar"), (33, "bass"), (73, "flute"), (40, "string"),
    ]  # fmt: skip
    assert [e.instrument for e in entries] == ["b:000-000-preset-0"] * 3 + ["b:000-073-preset-3", "b:008-040-preset-4"]


def test_banks_that_share_samples(tmp_path):
    first = bank_of(tmp_path / "a.sf2", [(0, 0, [0]), (0, 73, [1])])
    second = bank_of(tmp_path / "b.sf2", [(0, 5, [1]), (0, 40, [2])])  # its sample 1 is that of the first bank
    entries = SoundFontSource(path=(first, second)).presets()
    assert [e.instrument for e in entries] == [
        "a:000-000-preset-0", "a:000-073-preset-1", "a:000-073-preset-1", "b:000-040-preset-1",
    ]  # fmt: skip
    assert [e.own_instrument for e in entries][2] == "b:000-005-preset-0"


def test_a_committed_test_instrument_never_gets_into_training(tmp_path, monkeypatch):
    from timbre_jax.data.importers import soundfont

    first = bank_of(tmp_path / "a.sf2", [(0, 0, [0]), (0, 73, [1])])
    second = bank_of(tmp_path / "b.sf2", [(0, 5, [1]), (0, 40, [2])])
    known = {"a": {"a:000-073-preset-1": "train", "a:000-000-preset-0": "train"}, "b": {"b:000-005-preset-0": "test"}}
    monkeypatch.setattr(soundfont, "committed_splits", lambda name: known.get(name, {}))
    splits = SoundFontSource(path=(first, second)).splits()
    assert splits["a:000-073-preset-1"] == "test"
    assert splits["a:000-000-preset-0"] == "train"
    assert "b:000-040-preset-1" in splits


def test_plan_and_notes_of_a_written_bank(tmp_path):
    source = SoundFontSource(
        path=(bank_of(tmp_path / "b.sf2", WIRING),), families=("flute", "string"), pitches=(57, 69), velocities=(64, 127)
    )
    records = source.plan()
    assert len(records) == 8
    assert records[0].id == "b:000-073-preset-3-057-064"
    assert {(r.instrument, r.family, r.source) for r in records} == {
        ("b:000-073-preset-3", "flute", "acoustic"), ("b:008-040-preset-4", "string", "acoustic"),
    }  # fmt: skip
    again = SoundFontSource(**{**source.__dict__}).plan()
    assert again == records
    for place, payload in source.fetch(records, range(8)):
        record = records[place]
        note = source.load(record, payload)
        hertz = (1470 if record.family == "flute" else 1764) * 2 ** ((record.pitch - 69) / 12)
        assert note.wave.shape == (64000,)
        assert note.wave.dtype == np.float32
        assert note.f0 == pytest.approx(hertz, rel=1e-4)
        assert not note.pitch_moves
        spectrum = np.abs(np.fft.rfft(note.wave[8000:40000] * np.hanning(32000)))
        assert spectrum.argmax() * 0.5 == pytest.approx(hertz, abs=0.5)
        held, after = note.wave[:48000], note.wave[48800:]
        assert np.sqrt(np.mean(held**2)) > 0.02
        assert np.abs(after).max() < 1e-3  # three seconds held; the bank's release is at once


def test_number_is_even_over_presets_and_seeded(tmp_path):
    path = bank_of(tmp_path / "b.sf2", WIRING)
    records = SoundFontSource(path=(path,), number=103).plan()
    counts = Counter(record.preset for record in records)
    assert len(records) == 103
    assert max(counts.values()) - min(counts.values()) <= 1
    assert len(SoundFontSource(path=(path,)).plan()) == 5 * 57 * 5
    other = SoundFontSource(path=(path,), number=103, seed=1).plan()
    assert {r.id for r in other} != {r.id for r in records}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"families": ("drums",)}, "unknown family 'drums'"),
        ({"pitches": (60, 128)}, "pitches \\[128\\]"),
        ({"velocities": (0,)}, "velocities \\[0\\]"),
        ({"pitches": ()}, "pitches \\[\\]"),
        ({"number": -1}, "number=-1"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        SoundFontSource(**options)


def test_a_bank_without_pitched_presets(tmp_path):
    with pytest.raises(ValueError, match="no preset of the families"):
        SoundFontSource(path=(bank_of(tmp_path / "b.sf2", [(128, 0, [0])]),)).plan()


def test_programs_have_families_and_sources():
    assert len(FAMILY_OF_PROGRAM) == 97
    assert set(FAMILY_OF_PROGRAM.values()) == set(FAMILIES)
    assert {source_of_program(program) for program in FAMILY_OF_PROGRAM} == set(SOURCES)
    assert [source_of_program(p) for p in (0, 4, 27, 38, 81)] == [
        "acoustic", "electronic", "electronic", "synthetic", "synthetic",
    ]  # fmt: skip


# The default bank. ---------------------------------------------------------------------------------------------------


def test_the_default_bank_and_its_splits():
    source = SoundFontSource()
    entries = source.presets()
    assert len(entries) == 97
    groups = Counter(entry.instrument for entry in entries)
    assert len(groups) == 53
    assert sum(count for count in groups.values() if count > 1) == 61  # presets that share samples with another
    splits = source.splits()
    assert set(splits) == set(groups)
    assert SoundFontSource(seed=9).splits() == splits  # committed, so no seed changes them
    assert len(SoundFontSource(pitches=tuple(range(21, 109)), number=0).plan()) == 97 * 88 * 5


def test_no_raw_sample_is_in_two_splits():
    source = SoundFontSource()
    bank = parser.read_soundfont(default_bank())
    splits = source.splits()
    held: dict[str, set[str]] = {}
    for entry in source.presets():
        for sample in bank.preset_samples(entry.preset):
            held.setdefault(bank.sample_digest(sample), set()).add(splits[entry.instrument])
    assert len(held) > 300
    assert all(len(where) == 1 for where in held.values())


def test_notes_of_the_default_bank_sound_as_they_should():
    """Keys are what they say within the bank's own tuning, folded by octaves; louder keys are louder; a release fades."""
    source = SoundFontSource(pitches=(52, 64, 76), velocities=(50, 127))
    records = [r for r in source.plan() if r.preset in ("Piano 1", "Violin", "Clarinet", "SoloTrumpet", "Organ 1")]
    assert len(records) == 5 * 6
    off, levels = [], {}
    for record in records:
        note = source.load(record, None)
        cents = 1200 * np.log2(note.f0 / (440 * 2 ** ((record.pitch - 69) / 12)))
        off.append(abs((cents + 600) % 1200 - 600))
        levels[record.preset, record.pitch, record.velocity] = float(np.sqrt(np.mean(note.wave[:48000] ** 2)))
        assert np.abs(note.wave).max() < 1.0
        late = np.sqrt(np.mean(note.wave[-3000:] ** 2))
        assert late < 0.5 * levels[record.preset, record.pitch, record.velocity]
    assert max(off) < 15
    assert np.median(off) < 5
    assert all(levels[p, k, 127] > 2 * levels[p, k, 50] for p, k, v in levels if v == 50)
