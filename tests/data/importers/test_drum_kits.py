"""Drum kits: General MIDI classes, groups by shared recordings, and the default bank."""

from collections import Counter

import numpy as np
import pytest

from tests.helpers.library import columns_by_id, hit, write
from tests.helpers.soundfont import one_preset, sine_sample, write_soundfont
from timbre_jax.data.importers.drum_kits import CLASS_OF_KEY, DrumKitImporter, class_of_hit
from timbre_jax.data.importers.drums import DrumSettings
from timbre_jax.data.importers.folder import FolderImporter
from timbre_jax.data.prepare.build import build_store
from timbre_jax.soundfont import parser
from timbre_jax.soundfont.parser import SoundFontError


def drum(seed: int, seconds: float = 0.2, **more) -> dict:
    wave = np.rint(hit(seed, seconds=seconds) * 32767).astype("<i2")
    return {"name": f"drum {seed}", "data": wave, "rate": 44100, "root": 60, "loop": (0, 1), **more}


def zone(key: int, sample: int, velocities: tuple[int, int] = (0, 127)) -> dict:
    return {parser.KEY_RANGE: (key, key), parser.VELOCITY_RANGE: velocities, parser.ROOT_KEY: key, "sample": sample}


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    """Returns two kits with four recordings and a click on all of them, and a melodic preset."""
    click = drum(99, seconds=0.01)
    first = [zone(36, 0), zone(38, 1, (0, 80)), zone(38, 2, (81, 127)), zone(42, 3), *(zone(key, 4) for key in (36, 38, 42))]
    second = [zone(36, 0), zone(42, 1)]
    return write_soundfont(
        tmp_path_factory.mktemp("bank") / "two.sf2",
        samples=[drum(1), drum(2), drum(3), drum(4), click],
        instruments=[first, second],
        presets=[
            {"name": "Standard", "bank": 128, "program": 0, "zones": [{"instrument": 0}]},
            {"name": "Room", "bank": 128, "program": 8, "zones": [{"instrument": 1}]},
            {"name": "Piano", "bank": 0, "program": 0, "zones": [{"instrument": 0}]},
        ],
    )


def build(source, out, **options):
    return build_store(source, out, workers=1, progress=False, **options)


def test_hits_share_instrument_and_split_with_their_recordings(bank, tmp_path):
    source = DrumKitImporter((str(bank),), velocities=(40, 120), seconds=0.5)
    plan = source.plan()
    assert [record.id for record in plan] == [
        f"two:{kit}-{key:03d}-{velocity:03d}"
        for kit, key in (("000-standard", 36), ("000-standard", 38), ("000-standard", 42), ("008-room", 36), ("008-room", 42))
        for velocity in (40, 120)
    ]
    assert [record.family for record in plan] == ["kick"] * 2 + ["snare"] * 2 + ["hihat"] * 2 + ["kick"] * 2 + ["hihat"] * 2
    store = build(source, tmp_path / "store")
    known = columns_by_id(store)
    assert len(known) == 10
    # Recording 1 is the soft snare and the hi-hat of the Room kit; the click of all hits connects nothing.
    instruments = {name: row["instrument"] for name, (_, row) in known.items()}
    assert instruments["two:008-room-036-040"] == instruments["two:000-standard-036-120"] == "two:000-standard-036"
    assert instruments["two:008-room-042-040"] == instruments["two:000-standard-038-040"] == "two:000-standard-038"
    assert instruments["two:000-standard-042-040"] == "two:000-standard-042"
    pairs = {(row["instrument"], split) for split, row in known.values()}
    assert len(pairs) == len(set(instruments.values()))
    soft, loud = (known[f"two:000-standard-042-{velocity}"] for velocity in ("040", "120"))
    assert [soft[1][name] for name in ("velocity", "pitch", "preset")] == [40, -1, "Standard"]
    # The level is kept.
    soft, loud = (np.abs(store.audio(split, [row["position"]])).max() for split, row in (soft, loud))
    assert soft < 0.3 * loud


def test_hit_equals_its_recording(bank, tmp_path):
    store = build(
        DrumKitImporter((str(bank),), velocities=(127,), sample_rate=44100, seconds=0.3, families=("kick",)), tmp_path / "s"
    )
    split, row = columns_by_id(store)["two:008-room-036-127"]
    (wave,) = store.audio(split, [row["position"]])
    assert np.corrcoef(wave[: len(hit(1, seconds=0.2))], hit(1, seconds=0.2))[0, 1] > 0.999


def test_keys_have_general_midi_classes():
    assert len(CLASS_OF_KEY) == len(set(CLASS_OF_KEY))
    assert {CLASS_OF_KEY[key] for key in (35, 38, 39, 41, 42, 49, 54, 56, 60, 75)} == {
        "kick", "snare", "clap", "tom", "hihat", "cymbal", "shaker", "metallic", "hand drum", "wooden",
    }  # fmt: skip
    assert class_of_hit(0, 71, ["Samba Whistle"]) == "unlabeled"
    assert class_of_hit(0, 42, ["Ride"]) == "hihat"
    assert class_of_hit(48, 42, ["Timpani A"]) == "mallet drum"  # names decide in an orchestra kit
    assert class_of_hit(48, 42, ["x17"]) == "hihat"


def test_default_bank_has_all_classes_and_many_instruments():
    plan = DrumKitImporter(velocities=(100,)).plan()
    assert len({record.preset for record in plan}) == 8
    assert set(Counter(record.family for record in plan)) >= set(CLASS_OF_KEY.values())
    from timbre_jax.data.importers.splits import connected_groups

    groups = connected_groups(DrumKitImporter(velocities=(100,))._recordings())
    assert len(groups) >= 40
    assert max(map(len, groups)) < 0.25 * len(plan)


def test_invalid_banks_and_settings_are_rejected(tmp_path):
    with pytest.raises(SoundFontError, match="no drum kits"):
        DrumKitImporter((str(one_preset(tmp_path / "tone.sf2", sample=sine_sample(seconds=0.2))),)).plan()
    with pytest.raises(SoundFontError, match="no such file"):
        DrumKitImporter((str(tmp_path / "none.sf2"),)).plan()
    with pytest.raises(ValueError, match="velocities=0"):
        DrumKitImporter(velocities=(0, 100))
    with pytest.raises(ValueError, match="velocities=:"):
        DrumKitImporter(velocities=())
    with pytest.raises(ValueError, match="families=gong: no sound has this class"):
        DrumKitImporter(families=("gong",)).plan()


def test_drums_use_existing_folders_or_the_default_bank(tmp_path):
    write(tmp_path / "kits" / "A" / "Kick-1.wav", hit(1))
    write(tmp_path / "kits" / "A" / "what.wav", hit(2))
    there = DrumSettings(seconds=1.0).importer((str(tmp_path / "none"), str(tmp_path / "kits")))
    assert isinstance(there, FolderImporter)
    assert [(record.family, record.left_out) for record in there.plan()] == [
        ("kick", ""), ("unlabeled", "not selected (no class)"),
    ]  # fmt: skip
    assert DrumSettings(seconds=1.0).importer((str(tmp_path / "none"),)) == DrumKitImporter(seconds=1.0, unlabeled=False)
