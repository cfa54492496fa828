"""Tests of MSE, SSIM and spectral distances against their definitions in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from tests.helpers import sounds
from timbre_jax.audio import distances

# Compiled once each; uncompiled, every operation would be compiled for every shape.
log_spectral_distance = jax.jit(distances.log_spectral_distance, static_argnames="floor_db")
multi_resolution_stft_distance = jax.jit(distances.multi_resolution_stft_distance)
spectral_convergence = jax.jit(distances.spectral_convergence)


def _ssim_float64(a, b, window=7):
    """Returns SSIM as skimage.metrics.structural_similarity defines it (win_size=7)."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    unbias = window**2 / (window**2 - 1)
    box = lambda x: scipy.ndimage.uniform_filter(x, window)  # noqa: E731
    ma, mb = box(a), box(b)
    va, vb, cov = unbias * (box(a * a) - ma * ma), unbias * (box(b * b) - mb * mb), unbias * (box(a * b) - ma * mb)
    s = ((2 * ma * mb + 1e-4) * (2 * cov + 9e-4)) / ((ma**2 + mb**2 + 1e-4) * (va + vb + 9e-4))
    edge = window // 2
    return s[edge:-edge, edge:-edge].mean()


@pytest.mark.parametrize("spread", [0.5, 1e-3])
def test_ssim_equals_float64_reference(spread):
    random = np.random.default_rng(0)
    a = np.clip(0.8 + spread * random.standard_normal((3, 60, 8)), 0, 1).astype(np.float32)
    b = np.clip(a + 0.3 * spread * random.standard_normal(a.shape), 0, 1).astype(np.float32)
    expected = [_ssim_float64(x, y) for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(distances.ssim(jnp.asarray(a), jnp.asarray(b)), expected, atol=2e-5)
    np.testing.assert_allclose(distances.ssim(jnp.asarray(a), jnp.asarray(a)), 1.0, atol=1e-6)


def test_ssim_has_finite_gradients_and_rejects_wrong_shapes():
    a = jnp.full((1, 20, 8), 0.5)
    assert np.all(np.isfinite(jax.jit(jax.grad(lambda x: jnp.sum(distances.ssim(x, a))))(a + 0.1)))
    with pytest.raises(ValueError, match="11"):
        distances.ssim(a, a, window=11)
    with pytest.raises(ValueError, match="shape"):
        distances.ssim(a, a[:, :10])


def test_mse_ignores_masked_frames():
    a, b = jnp.zeros((2, 4, 3)), jnp.stack([jnp.full((4, 3), 0.5), jnp.full((4, 3), 1.0)])
    np.testing.assert_allclose(distances.mse(a, b), [0.25, 1.0])
    b = b.at[:, 2:].set(9.0)
    mask = jnp.asarray([[1.0, 1.0, 0.0, 0.0]] * 2)
    np.testing.assert_allclose(distances.mse(a, b, mask=mask), [0.25, 1.0])


def test_log_spectral_distance_equals_its_definition():
    wave, reference = sounds.noise(length=8000), sounds.harmonic_tone(200.0, [0.5, 0.2], length=8000)

    def db(x):
        x = np.pad(x.astype(np.float64), 512)
        window = np.hanning(1025)[:-1]
        power = [np.abs(np.fft.rfft(x[n : n + 1024] * window)) ** 2 for n in range(0, len(x) - 1023, 256)]
        return 10 * np.log10(np.maximum(power, 1e-30))

    floor = db(reference).max() - 80.0
    difference = np.maximum(db(wave), floor) - np.maximum(db(reference), floor)
    expected = np.sqrt(np.mean(difference**2, axis=1)).mean()
    distance = log_spectral_distance(jnp.asarray(wave)[None], jnp.asarray(reference)[None])
    np.testing.assert_allclose(distance, [expected], rtol=1e-4)


def test_log_spectral_distance_of_a_level_change_is_that_change():
    reference = sounds.noise(length=8000)
    distance = log_spectral_distance(
        jnp.stack([reference, 0.5 * reference]), jnp.stack([reference, reference]), floor_db=-150.0
    )
    np.testing.assert_allclose(distance, [0.0, 6.0206], atol=1e-3)
    silence = jnp.zeros((1, 8000))
    assert log_spectral_distance(silence, silence)[0] == 0.0


def test_spectral_distances_of_scaled_sounds_equal_their_formulas():
    wave = np.stack(
        [sounds.noise(length=8000), sounds.harmonic_tone(200.0, [0.5, 0.2], length=8000), np.zeros(8000, np.float32)]
    )
    wave = jnp.asarray(wave)
    np.testing.assert_allclose(spectral_convergence(0.5 * wave, wave), [0.5, 0.5, 0.0], atol=1e-6)
    np.testing.assert_allclose(spectral_convergence(0.0 * wave, wave), [1.0, 1.0, 0.0], atol=1e-6)
    # At half the amplitude, convergence is 1/2 and |ln S - ln S_ref| is ln 2 in bins above the floor (all of noise).
    distance = multi_resolution_stft_distance(0.5 * wave, wave)
    assert float(distance[0]) == pytest.approx(0.5 + np.log(2.0), abs=1e-3)
    assert float(distance[1]) < 0.5 + np.log(2.0)
    assert float(distance[2]) == 0.0
    np.testing.assert_array_equal(multi_resolution_stft_distance(wave, wave), 0.0)
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(multi_resolution_stft_distance(x, wave))))(wave)
    assert np.all(np.isfinite(gradient))


def test_padding_counts_only_without_lengths():
    wave, reference = sounds.noise(length=6400), sounds.noise(length=6400, seed=5)
    padded = [np.pad(x, (0, 25600)) for x in (wave, reference)]
    wave, reference, (long_wave, long_reference) = wave[None], reference[None], (x[None] for x in padded)
    lengths = np.array([6400])
    for distance, slack in ((log_spectral_distance, 0.03), (multi_resolution_stft_distance, 0.03)):
        alone = float(distance(wave, reference)[0])
        assert float(distance(long_wave, long_reference, lengths=lengths)[0]) == pytest.approx(alone, rel=slack)
    diluted = float(log_spectral_distance(long_wave, long_reference)[0])
    assert diluted < 0.3 * float(log_spectral_distance(wave, reference)[0])


def test_gradients_are_finite_if_both_sounds_contain_silence():
    wave = jnp.asarray(np.pad(sounds.noise(length=4000), (0, 4000)))[None]
    reference = jnp.asarray(np.pad(sounds.noise(length=4000, seed=3), (0, 4000)))[None]
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(log_spectral_distance(x, reference))))(wave)
    assert np.all(np.isfinite(gradient))
    assert np.abs(gradient).max() > 0
