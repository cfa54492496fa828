import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.notes import note_wave
from tests.helpers.sounds import harmonic_tone, sine
from timbre_jax.data.prepare import quality
from timbre_jax.data.prepare.summary import QualityCounts, quality_page


def noise(level=0.1, seed=0):
    return np.random.default_rng(seed).normal(0, level, 64000).astype(np.float32)


@pytest.mark.parametrize(
    ("wave", "reason"),
    [
        (note_wave(60), ""),
        (noise(), ""),  # harmonic_check leaves it out
        (np.zeros(64000, np.float32), "silent"),
        (sine(440, 1e-4), "silent"),  # rms 7e-5
        (sine(440, 2e-4), ""),
        (np.full(64000, 0.3, np.float32), "constant offset"),
        (0.3 + sine(440, 1e-3), "constant offset"),
        (0.01 + sine(440, 0.1), ""),
        (sine(440)[:3000], "too short (0.188 s)"),
        (np.zeros(0, np.float32), "too short (0.000 s)"),
    ],
)
def test_unusable_waves_have_a_reason(wave, reason):
    assert quality.wave_problem(np.asarray(wave, np.float32), 16000) == reason


def test_pcm_is_rounded_and_clipping_counted():
    pcm, clipped = quality.to_pcm(np.array([0, 0.5, -1, 1, 1.5, -1.5, 0.6 / 32768], np.float32))
    assert pcm.tolist() == [0, 16384, -32768, 32767, 32767, -32768, 1]
    assert clipped == 3  # 1.0 is also out of range


@settings(deadline=None, max_examples=20)
@given(st.floats(0.05, 1.0))
def test_signature_ignores_gain_and_differs_between_notes(gain):
    a, b = note_wave(60, seed=1), note_wave(60, seed=2)

    def distance(x, y):
        return np.abs(quality.signature(x) / 2 - quality.signature(y) / 2.0).mean()

    assert distance(a, (gain * a).astype(np.float32)) < 0.3
    assert distance(a, b) > 2 * quality.SAME_SOUND_DB


@st.composite
def listed(draw):
    count = draw(st.integers(1, 30))
    kinds = draw(st.lists(st.integers(0, 9), min_size=count, max_size=count))
    splits = draw(st.lists(st.integers(0, 2), min_size=count, max_size=count))
    pitches = draw(st.lists(st.integers(60, 61), min_size=count, max_size=count))
    exact = draw(st.lists(st.booleans(), min_size=count, max_size=count))
    return kinds, np.array(splits), np.array(pitches), exact


@settings(deadline=None)
@given(listed())
def test_kept_duplicates_are_in_one_split(notes):
    """Draws sounds of ten kinds with equal or nearly equal signatures."""
    kinds, splits, pitches, exact = notes
    base = np.random.default_rng(0).integers(-100, 0, (10, 128)).astype(np.int8)
    signatures = base[kinds] + np.array([0 if e else 1 for e in exact], np.int8)[:, None] * (np.arange(128) % 16 == 0)
    digests = [f"{k}-{p}" if e else f"own{n}" for n, (k, p, e) in enumerate(zip(kinds, pitches, exact, strict=True))]
    ids = [f"n{n}" for n in range(len(kinds))]
    reasons = quality.find_duplicates(digests, signatures.astype(np.int8), splits, pitches, ids)
    kept = [n for n in range(len(kinds)) if n not in reasons]
    assert len({digests[n] for n in kept}) == len(kept)
    assert {digests[n] for n in kept} | {digests[n] for n in reasons} == set(digests)
    splits_of_sound = {(kinds[n], int(pitches[n])): set() for n in range(len(kinds))}
    for n in kept:
        splits_of_sound[kinds[n], int(pitches[n])].add(int(splits[n]))
    for key, where in splits_of_sound.items():
        everywhere = {int(splits[n]) for n in range(len(kinds)) if (kinds[n], int(pitches[n])) == key}
        assert where == {max(everywhere)}  # only in the split that is farthest from training


GOOD = {"harmonic": 1.0, "aperiodicity": 0.01, "f0_spread": 3.0, "f0_jumps": 0.0, "level_unsteadiness": 0.5}


@pytest.mark.parametrize(
    ("change", "pitch", "f0", "reason"),
    [
        ({}, 60, 261.6, ""),
        ({}, -1, 0.0, ""),
        ({}, 40, 0.0, ""),
        ({}, 39, 0.0, "pitch out of range (78 Hz)"),
        ({}, 96, 2093.0, ""),
        ({}, 97, 0.0, "pitch out of range (2217 Hz)"),
        ({}, 45, 55.0, "pitch out of range (55 Hz)"),  # an organ that sounds an octave below its key
        ({"harmonic": 0.5}, 60, 0.0, "not harmonic (50 % of its frames are periodic)"),
        ({"aperiodicity": 0.4}, 60, 0.0, "not harmonic (100 % of its frames are periodic)"),
        ({"f0_spread": 60.0}, 60, 0.0, "unsteady (f0 spreads by 60 cents)"),
        ({"f0_jumps": 0.3}, 60, 0.0, "unsteady (f0 jumps in 30 % of its frames)"),
        ({"level_unsteadiness": 5.0}, 60, 0.0, "unsteady (level varies by 5.0 dB)"),
    ],
)
def test_unsuitable_measures_have_a_reason(change, pitch, f0, reason):
    assert quality.note_problem({**GOOD, **change}, pitch, f0) == reason


def test_harmonic_check_rejects_noise_and_unsteady_notes():
    """Checks calculated waves, whose quality is known."""
    steps = 64000 // 8
    melody = (220, 330, 262, 440, 196, 294, 349, 247)
    jumping = np.concatenate([harmonic_tone(f, [0.3, 0.2], length=steps) for f in melody])
    # +-10 dB at 4 Hz: 20 / pi = 6.4 dB from the mean on average.
    pulsing = 0.3 * harmonic_tone(220, [0.3, 0.2]) * 10 ** (0.5 * np.sin(2 * np.pi * 4 * np.arange(64000) / 16000))
    cases = {
        "": [note_wave(60), note_wave(45), note_wave(90), 0.01 * note_wave(70)],
        "not harmonic": [noise()],
        "unsteady": [jumping, pulsing],
    }
    waves = np.stack([wave for group in cases.values() for wave in group]).astype(np.float32)
    check, numbers = quality.harmonic_check()
    actual = check(waves, np.full(len(waves), -1), np.zeros(len(waves)))
    expected = [reason for reason, group in cases.items() for _ in group]
    assert [reason.split(" (")[0] for reason in actual] == expected
    assert numbers["pitch_hz"] == [80.0, 2100.0]


def test_report_counts_reasons_and_remarks():
    summary = QualityCounts()
    for left_out, remarks in [
        ("", ""), ("", "cut to 4 s (9.0 s); mixed to mono (2 channels)"), ("silent", ""), ("silent", ""),
        ("duplicate (sounds like a)", ""),
    ]:  # fmt: skip
        summary.add(left_out, remarks)
    counts = summary.counts()
    assert counts == {
        "notes": 5, "kept": 2, "left_out": {"silent": 2, "duplicate": 1}, "remarks": {"cut to 4 s": 1, "mixed to mono": 1},
    }  # fmt: skip
    page = quality_page("a test", counts)
    assert "2 of 5 sounds kept (40.0 %)" in page
    assert "| silent | 2 | 40.0 |" in page


def test_copy_is_compared_with_kept_notes_only():
    base = np.zeros(128, np.int8)
    near = base.copy()
    near[:8] = 1
    # train 0, valid 1 (nearest to it, and a copy of test 3), valid 2.
    signatures = np.stack([base, base, near, base])
    reasons = quality.find_duplicates(list("abcd"), signatures, np.array([0, 1, 1, 2]), np.full(4, 60), list("abcd"))
    assert sorted(reasons) == [0, 1, 2]
    signatures[3] = np.full(128, 100, np.int8)
    signatures[1] = signatures[3]
    reasons = quality.find_duplicates(list("abcd"), signatures, np.array([0, 1, 1, 2]), np.full(4, 60), list("abcd"))
    assert sorted(reasons) == [0, 1]
