"""Hits of drum kits: General MIDI's classes, groups by shared recordings, and the kits of the default bank."""

from collections import Counter

import numpy as np
import pytest

from tests.helpers.library import everything, hit, write
from tests.helpers.soundfont import one_preset, sine_sample, write_soundfont
from timbre_jax.data.importers.drum_kits import CLASS_OF_KEY, KitSource, class_of_hit
from timbre_jax.data.importers.drums import DrumSettings
from timbre_jax.data.importers.folder import FolderSource
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
    """Two kits over four recordings and a click on top of all; beside them a preset that is no kit."""
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


def test_hits_of_a_written_bank(bank, tmp_path):
    source = KitSource((str(bank),), velocities=(40, 120), seconds=0.5)
    plan = source.plan()
    assert [record.id for record in plan] == [
        f"two:{kit}-{key:03d}-{velocity:03d}"
        for kit, key in (("000-standard", 36), ("000-standard", 38), ("000-standard", 42), ("008-room", 36), ("008-room", 42))
        for velocity in (40, 120)
    ]
    assert [record.family for record in plan] == ["kick"] * 2 + ["snare"] * 2 + ["hihat"] * 2 + ["kick"] * 2 + ["hihat"] * 2
    store = build(source, tmp_path / "store")
    known = everything(store)
    assert len(known) == 10
    # Recording 1 is the soft snare and the Room's hi-hat; the click that all play ties nothing together.
    instruments = {name: row["instrument"] for name, (_, row) in known.items()}
    assert instruments["two:008-room-036-040"] == instruments["two:000-standard-036-120"] == "two:000-standard-036"
    assert instruments["two:008-room-042-040"] == instruments["two:000-standard-038-040"] == "two:000-standard-038"
    assert instruments["two:000-standard-042-040"] == "two:000-standard-042"
    pairs = {(row["instrument"], split) for split, row in known.values()}
    assert len(pairs) == len(set(instruments.values()))
    soft, loud = (known[f"two:000-standard-042-{velocity}"] for velocity in ("040", "120"))
    assert [soft[1][name] for name in ("velocity", "pitch", "preset")] == [40, -1, "Standard"]
    # Level is kept: a soft hit is softer.
    soft, loud = (np.abs(store.audio(split, [row["position"]])).max() for split, row in (soft, loud))
    assert soft < 0.3 * loud


def test_a_hit_is_its_recording(bank, tmp_path):
    store = build(
        KitSource((str(bank),), velocities=(127,), sample_rate=44100, seconds=0.3, families=("kick",)), tmp_path / "s"
    )
    split, row = everything(store)["two:008-room-036-127"]
    (heard,) = store.audio(split, [row["position"]])
    assert np.corrcoef(heard[: len(hit(1, seconds=0.2))], hit(1, seconds=0.2))[0, 1] > 0.999


def test_classes_of_keys():
    assert len(CLASS_OF_KEY) == len(set(CLASS_OF_KEY))
    assert {CLASS_OF_KEY[key] for key in (35, 38, 39, 41, 42, 49, 54, 56, 60, 75)} == {
        "kick", "snare", "clap", "tom", "hihat", "cymbal", "shaker", "metallic", "hand drum", "wooden",
    }  # fmt: skip
    assert class_of_hit(0, 71, ["Samba Whistle"]) == "unlabeled"
    assert class_of_hit(0, 42, ["Ride"]) == "hihat"  # General MIDI says it
    assert class_of_hit(48, 42, ["Timpani A"]) == "mallet drum"  # an orchestra's kit asks the name first
    assert class_of_hit(48, 42, ["x17"]) == "hihat"


def test_the_default_bank():
    """All kits and nearly all classes of the thesis; groups of shared recordings are many and none holds half of all hits."""
    plan = KitSource(velocities=(100,)).plan()
    assert len({record.preset for record in plan}) == 8
    assert set(Counter(record.family for record in plan)) >= set(CLASS_OF_KEY.values())
    from timbre_jax.data.importers.splits import connected_groups

    groups = connected_groups(KitSource(velocities=(100,))._recordings())
    assert len(groups) >= 40
    assert max(map(len, groups)) < 0.25 * len(plan)


def test_wrong_banks_and_settings(tmp_path):
    with pytest.raises(SoundFontError, match="no kits"):
        KitSource((str(one_preset(tmp_path / "tone.sf2", sample=sine_sample(seconds=0.2))),)).plan()
    with pytest.raises(SoundFontError, match="no such file"):
        KitSource((str(tmp_path / "none.sf2"),)).plan()
    with pytest.raises(ValueError, match=r"velocities \[0\]"):
        KitSource(velocities=(0, 100))
    with pytest.raises(ValueError, match=r"velocities \[\]"):
        KitSource(velocities=())
    with pytest.raises(ValueError, match="there is no class 'gong'"):
        KitSource(families=("gong",)).plan()


def test_the_drums_of_this_machine(tmp_path):
    write(tmp_path / "kits" / "A" / "Kick-1.wav", hit(1))
    write(tmp_path / "kits" / "A" / "what.wav", hit(2))
    there = DrumSettings(seconds=1.0).importer((str(tmp_path / "none"), str(tmp_path / "kits")))
    assert isinstance(there, FolderSource)
    assert [(record.family, record.left_out) for record in there.plan()] == [
        ("kick", ""), ("unlabeled", "not asked for (no class)"),
    ]  # fmt: skip
    assert DrumSettings(seconds=1.0).importer((str(tmp_path / "none"),)) == KitSource(seconds=1.0, unlabeled=False)
