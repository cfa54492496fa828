"""Tests of gradient search in a small linear space of mel bands."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers.codes import code_space
from tests.helpers.series import FRAMES, tilted_space
from tests.helpers.sounds import harmonic_tone, noise
from timbre_jax.audio.descriptors import describe
from timbre_jax.generation.control import gradient_search as searches
from timbre_jax.generation.control.curves import Curve, make_curve
from timbre_jax.generation.control.results import measure
from timbre_jax.types import Features


@pytest.fixture(scope="module")
def space():
    return tilted_space()


@pytest.fixture(scope="module")
def start(space):
    return searches.mean_start(space, seconds=FRAMES * 128 / 16000)


@pytest.fixture(scope="module")
def reach(space, start):
    return searches.reachable_ranges(space, ("centroid",), start, steps=60)


def test_descriptors_of_mel_bands_approximate_those_of_the_sound(space):
    waves = jnp.asarray(np.stack([noise(length=5120), harmonic_tone(250.0, [0.5, 0.3, 0.2, 0.1], length=5120)]))
    features = space.analyze(waves)
    for name, tolerance in (("centroid", 0.2), ("bandwidth", 0.25), ("rolloff", 0.25)):
        decoded = np.exp(np.asarray(searches.decoded_descriptor(space, features, name)))[:, 6:-6]
        measured = np.asarray(describe(waves, name=name, sample_rate=16000, n_fft=512, hop=128))[:, 6:34]
        assert np.median(np.abs(decoded / measured - 1)[0]) < tolerance, name
    loudness = np.asarray(searches.decoded_descriptor(space, features, "loudness"))[:, 6:-6]
    measured = np.asarray(describe(waves, name="loudness", sample_rate=16000, n_fft=512, hop=128))[:, 6:34]
    np.testing.assert_allclose(loudness, measured, atol=1.5)


def test_gradients_are_finite_for_silent_bands(space):
    def total(values):
        return searches.decoded_descriptor(space, Features(values, jnp.ones(values.shape[:2])), "centroid").sum()

    gradient = jax.grad(total)(jnp.zeros((1, FRAMES, 24)))
    assert np.isfinite(np.asarray(gradient)).all()


def test_the_reachable_range_is_wide_and_within_the_band(space, reach):
    low, high = reach["centroid"]
    assert 300 < low < 2500 < high < 7000
    assert high > 1.5 * low


def test_sounds_follow_their_curves_and_rounds_reduce_the_error(space, start, reach):
    low, high = reach["centroid"]
    low, high = low * (high / low) ** 0.2, high * (low / high) ** 0.2
    seconds = FRAMES * 128 / 16000
    curves = [
        [make_curve(kind, "centroid", seconds=seconds, low=low, high=high, rate=rate)]
        for kind, rate in (("sine", 4.0), ("line", 0.0), ("constant", 0.0))
    ]
    first, results = (searches.control_latents(space, curves, start, reach=reach, steps=60, rounds=rounds) for rounds in (1, 3))
    for before, result in zip(first, results, strict=True):
        errors = result.errors()["centroid"]
        assert errors["median_error"] < 0.08
        assert not errors["correlation"] <= 0.95  # nan for the constant curve
        assert errors["mean_error"] <= before.errors()["centroid"]["mean_error"]
        again, _ = measure(space, np.asarray(space.render(result.latent)), ("centroid",), FRAMES)
        np.testing.assert_allclose(again["centroid"][0], result.achieved["centroid"], rtol=0.02)
        statistics = space.statistics
        assert (result.latent.values >= statistics["latent_low"] - 1e-5).all()
        assert (result.latent.values <= statistics["latent_high"] + 1e-5).all()
    # The error of a constant curve is the bias between bands and sound, which the rounds remove.
    assert results[2].errors()["centroid"]["mean_error"] < 0.6 * first[2].errors()["centroid"]["mean_error"]


def test_targets_outside_the_range_are_clipped_with_remarks(space, start, reach):
    curve = Curve("centroid", np.array([0.0, 0.1]), np.array([20.0, 7900.0]))
    (result,) = searches.control_latents(space, [[curve]], start, reach=reach, steps=5, rounds=1)
    assert result.target["centroid"].min() == pytest.approx(reach["centroid"][0])
    assert result.target["centroid"].max() == pytest.approx(reach["centroid"][1])
    assert "its last value is held" in result.remarks[0]
    assert "clipped" in result.remarks[1]


@pytest.mark.slow
def test_two_descriptors_are_controlled_together(space, start):
    names = ("centroid", "rolloff")
    reach = searches.reachable_ranges(space, names, start, steps=60)
    seconds = FRAMES * 128 / 16000
    middle = {name: np.sqrt(low * high) for name, (low, high) in reach.items()}
    curves = [[make_curve("constant", name, seconds=seconds, low=middle[name], high=middle[name]) for name in names]]
    (result,) = searches.control_latents(space, curves, start, reach=reach, steps=60, rounds=2)
    assert set(result.errors()) == set(names)
    assert result.errors()["centroid"]["median_error"] < 0.1
    assert result.errors()["rolloff"]["median_error"] < 0.15


@pytest.mark.slow
def test_a_single_frame_is_controlled(space):
    curve, start = Curve("centroid", np.zeros(1), np.array([2000.0])), searches.mean_start(space, seconds=0.001)
    (result,) = searches.control_latents(space, [[curve]], start, reach={"centroid": (300.0, 7000.0)}, steps=5, rounds=1)
    assert result.latent.values.shape[1] == 1
    assert np.isfinite(result.wave).all()


def test_wrong_requests_are_refused(space, start, reach):
    centroid = Curve("centroid", np.zeros(1), np.array([1000.0]))
    with pytest.raises(ValueError, match="f0: cannot be searched through the decoder, expected one of centroid"):
        searches.control_latents(space, [[Curve("f0", np.zeros(1), np.array([200.0]))]], start)
    codes = code_space()
    begun = searches.mean_start(codes, seconds=0.2)
    with pytest.raises(ValueError, match=r"needs a space of continuous latents \(got one of codes\)"):
        searches.control_latents(codes, [[centroid]], begun)
    with pytest.raises(ValueError, match="must have curves of the same descriptors"):
        searches.control_latents(space, [[centroid], [Curve("rolloff", np.zeros(1), np.array([1000.0]))]], start, reach=reach)


def test_a_silent_start_is_refused(space, start):
    dead = space.replace(variables={"params": {"mean": jnp.zeros(48), "basis": jnp.zeros((2, 48))}})
    with pytest.raises(ValueError, match="start: is silent"):
        searches.reachable_ranges(dead, ("centroid",), start, steps=60)
