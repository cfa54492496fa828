import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from timbre_jax.data.augment import HarmonicAugment, make_augment
from timbre_jax.representations import make_representation

OFF = {
    "level_db": 0.0, "tilt_db": 0.0, "harmonic_db": 0.0, "decay_db": 0.0, "harmonic_decay_db": 0.0, "pitch_semitones": 0.0,
    "time_warp": 0.0, "probability": 1.0,
}  # fmt: skip
FRAMES, HARMONICS = 40, 7
TRACKS = make_representation("harmonic_tracks", n_frames=FRAMES, n_harmonics=HARMONICS, length=172 * FRAMES)
SECONDS = np.arange(FRAMES) * 172 / 16000


def notes(*, f0=220.0, count=300):
    """Normalized tracks of steady notes with -40 dB in every harmonic but the last two, which are at the floor."""
    amplitude = np.full((count, FRAMES, HARMONICS), -40.0, np.float32)
    amplitude[..., -2:] = -100.0
    return jnp.asarray(TRACKS.normalize(jnp.full((count, FRAMES), f0), jnp.asarray(amplitude)))


VALUES, MASK, KEYS = notes(), jnp.ones((300, FRAMES)), jax.random.split(jax.random.key(0), 300)


def changed(values=VALUES, mask=MASK, **settings):
    """f0 [B, N] in Hz and amplitudes [B, N, H] in dB after an augmentation with these settings alone, and its values."""
    out = make_augment("harmonic", representation=TRACKS, **{**OFF, **settings})(KEYS, values, mask)
    f0, amplitude = TRACKS.denormalize(out)
    return np.asarray(f0), np.asarray(amplitude), np.asarray(out)


def gains(**settings):
    """Changes [B, N, 5] in dB of the harmonics over the floor."""
    return changed(**settings)[1][..., :-2] + 40.0


def test_everything_off_is_the_identity():
    np.testing.assert_allclose(changed()[2], VALUES, atol=1e-6)


def test_a_probability_of_zero_is_the_identity_and_a_half_is_half():
    out = changed(probability=0.0, level_db=9.0, pitch_semitones=3.0, time_warp=0.5)[2]
    np.testing.assert_array_equal(out, VALUES)
    out = changed(probability=0.5, level_db=9.0)[2]
    assert 0.4 < np.mean(np.any(out != np.asarray(VALUES), axis=(1, 2))) < 0.6


def test_level_moves_all_harmonics_alike():
    gain = gains(level_db=4.0)
    np.testing.assert_allclose(changed(level_db=4.0)[0], 220.0, rtol=1e-4)
    np.testing.assert_allclose(gain, np.broadcast_to(gain[:, :1, :1], gain.shape), atol=1e-3)
    assert gain[:, 0, 0].std() == pytest.approx(4.0, rel=0.15)
    assert abs(gain[:, 0, 0].mean()) < 0.8


def test_tilt_is_in_decibels_an_octave():
    gain = gains(tilt_db=2.0)[:, 0]
    np.testing.assert_allclose(gain[:, 0], 0.0, atol=1e-3)
    np.testing.assert_allclose(gain, gain[:, 1:2] * np.log2(np.arange(1, 6)), atol=2e-3)
    assert gain[:, 1].std() == pytest.approx(2.0, rel=0.15)


@pytest.mark.parametrize(("setting", "course"), [("harmonic_db", np.ones(FRAMES)), ("harmonic_decay_db", SECONDS)])
def test_changes_of_single_harmonics_are_independent(setting, course):
    gain = gains(**{setting: 3.0})
    drawn = gain[:, -1] / course[-1]
    np.testing.assert_allclose(gain, drawn[:, None] * course[:, None], atol=2e-3)
    np.testing.assert_allclose(drawn.std(0), 3.0, rtol=0.2)
    assert np.abs(np.corrcoef(drawn.T) - np.eye(5)).max() < 0.25


def test_decay_is_in_decibels_a_second():
    gain = gains(decay_db=6.0)
    slope = gain[:, -1, 0] / SECONDS[-1]
    np.testing.assert_allclose(gain, slope[:, None, None] * SECONDS[:, None] * np.ones(5), atol=2e-3)
    assert slope.std() == pytest.approx(6.0, rel=0.15)


def test_pitch_is_in_semitones_and_for_the_whole_note():
    f0, amplitude, _ = changed(pitch_semitones=1.5)
    semitones = 12 * np.log2(f0 / 220.0)
    np.testing.assert_allclose(semitones, np.broadcast_to(semitones[:, :1], semitones.shape), atol=2e-3)
    assert semitones[:, 0].std() == pytest.approx(1.5, rel=0.15)
    np.testing.assert_allclose(amplitude[..., :-2], -40.0, atol=1e-3)


def test_time_warp_moves_the_held_part_and_nothing_after():
    """A ramp shows where every frame comes from: t -> held (t / held)^gamma."""
    values, held = VALUES.at[:, :, 1].set(jnp.linspace(0.2, 0.8, FRAMES)), 0.3
    out = changed(values, time_warp=0.4, held_seconds=held)[2][..., 1]
    source = (out - 0.2) / 0.6 * (FRAMES - 1)  # frames
    frames, edge = np.arange(FRAMES), held * 16000 / 172
    after = frames >= edge
    np.testing.assert_allclose(source[:, after], np.broadcast_to(frames[after], source[:, after].shape), atol=1e-3)
    middle = frames[(frames > 2) & ~after]
    gamma = np.log(source[:, middle] / edge) / np.log(middle / edge)
    np.testing.assert_allclose(gamma[:, 3:-3], np.broadcast_to(gamma[:, 5:6], gamma[:, 3:-3].shape), rtol=2e-3)
    assert gamma[:, 5].std() > 0.1


def test_floors_stay_floors_and_all_stays_in_range():
    values = VALUES.at[:, 30:, 1:].set(0.0)
    _, _, out = changed(values, level_db=40.0, tilt_db=20.0, decay_db=60.0, harmonic_db=20.0, pitch_semitones=24.0)
    assert (out >= 0).all()
    assert (out <= 1).all()
    assert (out[..., -2:] == 0).all()
    assert (out[:, 30:, 1:] == 0).all()


def test_harmonics_above_nyquist_go_to_the_floor():
    f0, amplitude, _ = changed(notes(f0=1500.0).at[..., 1:].set(0.5), pitch_semitones=2.0)
    frequency = f0[..., None] * np.arange(1, HARMONICS + 1)
    clear = np.abs(frequency - 8000.0) > 1.0
    above = frequency > 8000.0
    assert (amplitude[above & clear] == -100.0).all()
    np.testing.assert_allclose(amplitude[~above & clear], -50.0, atol=1e-3)
    assert above[..., 4].any()
    assert not above[..., 4].all()


def test_frames_that_are_padding_are_not_touched():
    out = changed(mask=MASK.at[:, 25:].set(0.0), level_db=10.0)[2]
    np.testing.assert_array_equal(out[:, 25:], VALUES[:, 25:])
    assert np.any(out[:, :25] != VALUES[:, :25])


def test_an_example_depends_on_its_key_alone():
    everything = {"level_db": 4.0, "tilt_db": 2.0, "harmonic_db": 3.0, "pitch_semitones": 1.0, "time_warp": 0.3}
    values, mask, keys = VALUES[:8], MASK[:8], KEYS[:8]
    augment = make_augment("harmonic", representation=TRACKS, **everything, held_seconds=0.3)
    out = jax.jit(augment)(keys, values, mask)
    np.testing.assert_array_equal(jax.jit(augment)(keys[::-1], values[::-1], mask[::-1]), out[::-1])
    np.testing.assert_allclose(jax.jit(augment)(keys[:3], values[:3], mask[:3]), out[:3], atol=1e-6)
    assert np.any(jax.jit(augment)(jax.random.split(jax.random.key(9), 8), values, mask) != out)
    assert out.dtype == jnp.float32


def test_units_are_those_of_the_representation():
    other = dataclasses.replace(TRACKS, f0_range=(100.0, 1600.0), amplitude_range=(-80.0, 0.0))
    augment = make_augment("harmonic", representation=other)
    assert augment == HarmonicAugment(
        rate=16000 / 172, f0_per_semitone=1 / 48, value_per_db=1 / 80, f0_low=100.0, f0_octaves=4.0, nyquist=8000.0
    )


MEL = make_representation("log_mel", length=8000, n_frames=0, n_fft=1024, window_length=1024, n_mels=64)
MEL_OFF = {"pitch_semitones": 0.0, "stretch_semitones": 0.0, "tilt_db": 0.0, "color_db": 0.0, "decay_db": 0.0}


def tones(count=16, *, frequency=1000.0):
    """Log-mel values of decaying tones, and what augmentation takes beside them."""
    time = np.arange(8000) / 16000
    wave = np.exp(-4.0 * time) * np.sin(2 * np.pi * frequency * time)
    values = MEL.analyze(jnp.asarray(np.tile(wave, (count, 1)), jnp.float32)).values
    return jax.random.split(jax.random.key(1), count), values, jnp.ones(values.shape[:2])


def mel_changed(frequency=1000.0, **settings):
    augment = make_augment("mel", representation=MEL, **{**MEL_OFF, "probability": 1.0, **settings})
    keys, values, mask = tones(frequency=frequency)
    return np.asarray(values), np.asarray(jax.jit(augment)(keys, values, mask))


def test_mel_everything_off_is_the_identity():
    before, after = mel_changed()
    np.testing.assert_allclose(after, before, atol=1e-6)


def test_mel_pitch_moves_the_loudest_band_by_the_drawn_factor():
    augment = make_augment("mel", representation=MEL, **{**MEL_OFF, "probability": 1.0, "pitch_semitones": 4.0})
    keys, values, mask = tones()
    after = np.asarray(jax.jit(augment)(keys, values, mask))
    centers = np.array(augment.centers)
    # The very same draws as inside, turned into tones of the moved pitch.
    draws = jax.vmap(lambda key: jax.random.normal(jax.random.split(key, 6)[1]))(keys).tolist()
    for moved, draw in zip(after, draws, strict=True):
        wanted = 1000.0 * 2 ** (4.0 * draw / 12.0)
        found = np.average(centers, weights=np.exp(9.2 * moved[5]))
        assert abs(np.log2(found / wanted)) < 0.1


def test_mel_stretch_changes_the_decay_and_not_the_bands():
    before, after = mel_changed(stretch_semitones=6.0)
    slopes = after[:, 30].max(-1) - after[:, 5].max(-1)
    assert slopes.std() > 0.02
    np.testing.assert_array_equal(after[:, 5].argmax(-1), before[:, 5].argmax(-1))


def test_mel_changes_leave_silence_silent_and_the_loudest_at_one():
    before, after = mel_changed(tilt_db=9.0, color_db=6.0, decay_db=20.0)
    assert np.all(after[before == 0.0] == 0.0)
    np.testing.assert_allclose(after.max(axis=(1, 2)), 1.0, atol=1e-6)
    assert np.abs(after - before).max() > 0.05
    silence = jnp.zeros((2, *MEL.feature_shape))
    augment = jax.jit(make_augment("mel", representation=MEL))
    np.testing.assert_array_equal(
        augment(jax.random.split(jax.random.key(0), 2), silence, jnp.ones(silence.shape[:2])), silence
    )


@pytest.mark.parametrize(
    ("name", "settings", "representation", "message"),
    [
        ("spectral", {}, TRACKS, "config.augment.name=spectral: must be one of none, harmonic, mel"),
        ("harmonic", {"levle_db": 3.0}, TRACKS, "levle_db: 'harmonic' has no such setting; it has decay_db"),
        ("harmonic", {"nyquist": 3.0}, TRACKS, "nyquist: 'harmonic' has no such setting"),
        ("harmonic", {"level_db": -3.0}, TRACKS, "config.augment.level_db=-3.0: must be at least 0"),
        ("harmonic", {"level_db": "much"}, TRACKS, "level_db='much': must be a number"),
        ("harmonic", {"probability": 1.5}, TRACKS, "probability=1.5: must be at most 1"),
        ("harmonic", {"held_seconds": 0.0}, TRACKS, "held_seconds=0.0: must be at least 0.001"),
        ("none", {"level_db": 3.0}, TRACKS, "config.augment.level_db: 'none' has no settings"),
        (
            "harmonic",
            {},
            dataclasses.replace(TRACKS, f0_scale="hz"),
            "not 'harmonic_tracks' with f0_scale='hz'",
        ),
        ("mel", {"knots": 0}, MEL, "knots=0: must be at least 2"),
        ("mel", {"knots": 2.5}, MEL, "knots=2.5: must be a whole number"),
        ("mel", {"harmonic_db": 1.0}, MEL, "'mel' has no such setting"),
        ("mel", {}, TRACKS, "needs the representation 'log_mel'"),
    ],
)
def test_names_and_settings_are_checked(name, settings, representation, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make_augment(name, representation=representation, **settings)
    assert make_augment("none", representation=TRACKS) is None
