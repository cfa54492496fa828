"""Tests of phase reconstruction against librosa and heap integration (PGHI)."""

import heapq

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers import sounds
from timbre_jax.audio.distances import spectral_convergence
from timbre_jax.audio.griffin_lim import fast_griffin_lim, griffin_lim
from timbre_jax.audio.mel import mel_filterbank
from timbre_jax.audio.phase import INVERTERS, invert, pghi
from timbre_jax.audio.phase_gradient import continue_phase, gaussian_width, integrate_phase, phase_gradient
from timbre_jax.audio.stft import istft, stft

LENGTH, FFT, HOP = 8000, 512, 128
SHAPE = {"hop": HOP, "length": LENGTH}


def magnitudes_of(waves):
    return jnp.abs(stft(jnp.asarray(waves), n_fft=FFT, hop=HOP))


def convergence_db(waves, reference):
    return 20 * np.log10(np.asarray(spectral_convergence(jnp.asarray(waves), jnp.asarray(reference), n_fft=FFT, hop=HOP)))


@pytest.fixture(scope="module")
def waves():
    """Returns a tone with vibrato, a chirp, and noise bursts, [3, LENGTH]."""
    t = sounds.times(LENGTH)
    tone = sounds.harmonic_tone(sounds.vibrato(220.0, cents=40, rate_hz=6, length=LENGTH), 0.3 / np.arange(1, 8), length=LENGTH)
    chirp = 0.5 * np.sin(2 * np.pi * (300 * t + 0.5 * 5000 * t**2))
    bursts = sounds.noise(length=LENGTH) * np.exp(-np.mod(t, 0.125) / 0.02)
    return np.stack([tone, chirp, bursts]).astype(np.float32)


def heap_phase(magnitudes, across, along):
    """Returns phases [N, K] of PGHI (Průša et al. 2017, algorithm 1), without a tolerance."""
    phase, done = np.zeros(magnitudes.shape), np.zeros(magnitudes.shape, bool)
    first = np.unravel_index(np.argmax(magnitudes), magnitudes.shape)
    done[first] = True
    heap = [(-magnitudes[first], first)]
    while heap:
        _, (n, k) = heapq.heappop(heap)
        for dn, dk, slope in ((1, 0, across), (-1, 0, across), (0, 1, along), (0, -1, along)):
            there = n + dn, k + dk
            if 0 <= there[0] < len(phase) and 0 <= there[1] < phase.shape[1] and not done[there]:
                phase[there] = phase[n, k] + (dn + dk) * 0.5 * (slope[n, k] + slope[there])
                done[there] = True
                heapq.heappush(heap, (-magnitudes[there], there))
    return phase + np.pi * np.arange(phase.shape[1])


def test_gaussian_width_equals_published_values():
    for window, expected in (("hann", 0.25645), ("hamming", 0.29794), ("blackman", 0.17954)):
        assert gaussian_width(window, 512) / 512**2 == pytest.approx(expected, rel=0.02)


def test_phase_gradient_is_frequency_of_a_chirp_and_delay_of_an_impulse():
    """Checks d phase / dn on the ridge of a chirp and d phase / dk of an impulse."""
    gamma = gaussian_width("hann", FFT)
    t = sounds.times(LENGTH)
    frequency = 500 + 4000 * t
    chirp = np.sin(2 * np.pi * (500 * t + 2000 * t**2))
    across, _ = phase_gradient(magnitudes_of(chirp[None])[0], hop=HOP, gamma=gamma)
    frames = np.arange(8, 52)
    bins = np.round(frequency[frames * HOP] * FFT / sounds.RATE).astype(int)
    expected = 2 * np.pi * frequency[frames * HOP] * HOP / sounds.RATE
    difference = np.asarray(across)[frames, bins] - expected
    # A Hann window is not exactly Gaussian: 0.08 turns a hop are 10 Hz, a third of a bin.
    assert np.abs(difference - 2 * np.pi * np.round(difference / (2 * np.pi))).max() < 2 * np.pi * 0.08

    impulse = np.zeros((1, LENGTH), np.float32)
    impulse[0, 20 * HOP + 50] = 1.0
    _, along = phase_gradient(magnitudes_of(impulse)[0], hop=HOP, gamma=gamma)
    np.testing.assert_allclose(along[20, 10:-10], -2 * np.pi * 50 / FFT, atol=0.1)


def test_integrated_phase_is_as_good_as_heap_integration(waves):
    magnitudes = magnitudes_of(waves)
    ours = convergence_db(pghi(magnitudes, **SHAPE), waves)
    # Whole turns are removed, so that phases of long sounds are as accurate as those of short ones.
    assert np.abs(np.asarray(integrate_phase(magnitudes, hop=HOP))).max() <= 2 * np.pi + 1e-3
    gamma = gaussian_width("hann", FFT)
    theirs = []
    for row, wave in zip(np.asarray(magnitudes, np.float64), waves, strict=True):
        across, along = (np.asarray(x, np.float64) for x in phase_gradient(jnp.asarray(row), hop=HOP, gamma=gamma))
        phase = heap_phase(row, across, along)
        restored = fast_griffin_lim(row[None].astype(np.float32), **SHAPE, iterations=0, phase=phase[None].astype(np.float32))
        theirs.append(convergence_db(restored, wave[None])[0])
    assert np.all(ours < np.array(theirs) + 2.0), (ours, theirs)
    assert ours[1] < -25.0, "a chirp"
    # Compared with the phase of impulses.
    assert np.all(ours < convergence_db(fast_griffin_lim(magnitudes, **SHAPE, iterations=0), waves) - 5.0)


def test_griffin_lim_converges_as_well_as_that_of_librosa(waves):
    import librosa

    magnitudes = magnitudes_of(waves)
    for momentum, function in ((0.0, griffin_lim), (0.99, fast_griffin_lim)):
        ours = convergence_db(function(magnitudes, **SHAPE, iterations=60, key=jax.random.key(0)), waves)
        settings = {"hop_length": HOP, "n_iter": 60, "momentum": momentum, "random_state": 0}
        theirs = [librosa.griffinlim(np.asarray(row).T, length=LENGTH, **settings) for row in magnitudes]
        assert np.mean(ours) < np.mean(convergence_db(np.stack(theirs), waves)) + 1.0


def test_griffin_lim_error_falls_with_iterations(waves):
    magnitudes = magnitudes_of(waves)
    errors_db = [convergence_db(griffin_lim(magnitudes, **SHAPE, iterations=n), waves) for n in (0, 4, 16)]
    assert np.all(np.diff(errors_db, axis=0) < 0.01)


def test_true_phases_are_a_fixed_point(waves):
    spectra = stft(jnp.asarray(waves), n_fft=FFT, hop=HOP)
    restored = fast_griffin_lim(jnp.abs(spectra), **SHAPE, iterations=10, phase=jnp.angle(spectra))
    np.testing.assert_allclose(restored, waves, atol=2e-4)


def test_known_bands_are_recovered_from_wrong_magnitudes(waves):
    bank = mel_filterbank(sample_rate=16000, n_fft=FFT, n_mels=64)
    bands = np.square(np.asarray(magnitudes_of(waves))) @ bank.T
    flat = jnp.ones((3, bands.shape[1], FFT // 2 + 1)) * np.sqrt(bands.mean())
    restored = fast_griffin_lim(flat, **SHAPE, iterations=60, bands=jnp.asarray(bands), filters=bank)
    restored_bands = np.square(np.asarray(magnitudes_of(restored))) @ bank.T
    audible = bands > 1e-4 * bands.max()
    assert np.mean(np.abs(10 * np.log10(restored_bands[audible] / bands[audible]))) < 2.0


@pytest.mark.parametrize("name", INVERTERS)
def test_every_inverter_is_deterministic_batched_and_silent_for_silence(name, waves):
    magnitudes = jnp.concatenate([magnitudes_of(waves[:2]), jnp.zeros((1, 63, 257))])
    together = np.asarray(invert(name, magnitudes, **SHAPE, iterations=8))
    assert together.shape == (3, LENGTH)
    assert np.all(together[2] == 0)
    np.testing.assert_array_equal(together, invert(name, magnitudes, **SHAPE, iterations=8))
    assert np.all(np.std(together[:2], axis=1) > 0.5 * np.std(waves[:2], axis=1))
    turned = np.asarray(invert(name, magnitudes[1::-1], **SHAPE, iterations=8))
    np.testing.assert_allclose(turned[::-1], together[:2], atol=1e-3)


def test_random_phases_depend_on_the_key_not_on_the_batch(waves):
    magnitudes = magnitudes_of(waves[[0, 0, 1]])
    keys = jax.random.split(jax.random.key(3), 3)
    together = np.asarray(fast_griffin_lim(magnitudes, **SHAPE, iterations=4, key=keys))
    assert not np.allclose(together[0], together[1], atol=1e-2)
    np.testing.assert_allclose(together[2:], fast_griffin_lim(magnitudes[2:], **SHAPE, iterations=4, key=keys[2:]), atol=1e-3)


def test_inconsistent_arguments_are_rejected():
    magnitudes = jnp.ones((1, 63, 257))
    with pytest.raises(ValueError, match="must be at least 7936"):
        fast_griffin_lim(magnitudes, hop=HOP, length=7000)
    with pytest.raises(ValueError, match="filters"):
        fast_griffin_lim(magnitudes, **SHAPE, bands=jnp.ones((1, 63, 8)))
    with pytest.raises(ValueError, match="pghi_fast_griffin_lim"):
        invert("wavenet", magnitudes, **SHAPE, iterations=1)


@pytest.mark.parametrize(
    ("count", "name"), [(1, "pghi_fast_griffin_lim"), (1, "fast_griffin_lim"), (2, "pghi_fast_griffin_lim")]
)
def test_inverters_accept_sounds_of_one_or_two_frames(count, name):
    restored = invert(name, jnp.ones((2, count, 33)), hop=16, length=16 * count - 15, iterations=2)
    assert restored.shape == (2, 16 * count - 15)
    assert np.all(np.isfinite(restored))


def test_continued_phase_by_blocks_equals_the_whole():
    n_fft, hop, rate = 256, 64, 8000
    t = np.arange(40 * hop) / rate
    wave = np.sin(2 * np.pi * 1010 * t) + 0.5 * np.sin(2 * np.pi * (500 * t + 300 * t**2))
    magnitudes = jnp.abs(stft(jnp.asarray(wave[None], jnp.float32), n_fft=n_fft, hop=hop))[:, :40]
    start_phase = jnp.asarray(np.pi * np.mod(np.arange(n_fft // 2 + 1), 2), jnp.float32)[None]
    whole = continue_phase(magnitudes, start_phase, 0, hop=hop)
    assert whole.shape == (1, 39, n_fft // 2 + 1)
    parts = [continue_phase(magnitudes[:, :20], start_phase, 0, hop=hop)]
    parts.append(continue_phase(magnitudes[:, 18:], parts[0][:, -1], 0, hop=hop)[:, 1:])
    difference = jnp.concatenate(parts, axis=1) - whole
    np.testing.assert_allclose(jnp.cos(difference), 1.0, atol=1e-5)
    # The phases are consistent: the sound has nearly the target magnitudes.
    spectra = magnitudes[:, :39] * jnp.exp(1j * whole)
    sound = istft(spectra, hop=hop)
    again = jnp.abs(stft(sound, n_fft=n_fft, hop=hop))[:, 4:35]
    target = magnitudes[:, 4:35]
    assert float(jnp.linalg.norm(again - target) / jnp.linalg.norm(target)) < 0.15


def test_float32_is_kept_with_x64_enabled():
    magnitudes = np.abs(np.random.default_rng(0).standard_normal((1, 9, 65))).astype(np.float32)
    with jax.enable_x64(True):
        assert integrate_phase(magnitudes, hop=32).dtype == jnp.float32
        known = np.zeros((1, 4, 65), np.float32)
        assert integrate_phase(magnitudes, hop=32, known=known).dtype == jnp.float32
        assert continue_phase(magnitudes, known[:, 0], 0, hop=32).dtype == jnp.float32
