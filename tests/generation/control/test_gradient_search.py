"""Search for latents whose sound follows curves, in a small linear space of mel bands."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers.codes import code_space
from tests.helpers.series import FRAMES, tilted_space
from tests.helpers.sounds import harmonic_tone, noise
from timbre_jax.audio.descriptors import describe
from timbre_jax.generation.control import gradient_search as searches
from timbre_jax.generation.control.curves import Curve, shape
from timbre_jax.generation.control.results import measure
from timbre_jax.types import Features


@pytest.fixture(scope="module")
def space():
    return tilted_space()


@pytest.fixture(scope="module")
def start(space):
    return searches.begin(space, seconds=FRAMES * 128 / 16000)


@pytest.fixture(scope="module")
def reach(space, start):
    return searches.reachable(space, ("centroid",), start, steps=60)


def test_descriptors_of_decoded_bands_are_near_those_of_the_sound(space):
    """White noise and a tone through analysis: what the bands say against what the wave says."""
    waves = jnp.asarray(np.stack([noise(length=5120), harmonic_tone(250.0, [0.5, 0.3, 0.2, 0.1], length=5120)]))
    features = space.analyze(waves)
    for name, tolerance in (("centroid", 0.2), ("bandwidth", 0.25), ("rolloff", 0.25)):
        decoded = np.exp(np.asarray(searches.decoded_descriptor(space, features, name)))[:, 6:-6]
        measured = np.asarray(describe(waves, name=name, sample_rate=16000, n_fft=512, hop=128))[:, 6:34]
        assert np.median(np.abs(decoded / measured - 1)[0]) < tolerance, name
    loudness = np.asarray(searches.decoded_descriptor(space, features, "loudness"))[:, 6:-6]
    measured = np.asarray(describe(waves, name="loudness", sample_rate=16000, n_fft=512, hop=128))[:, 6:34]
    np.testing.assert_allclose(loudness, measured, atol=1.5)


def test_a_gradient_goes_through_bands_of_silence(space):
    def total(values):
        return searches.decoded_descriptor(space, Features(values, jnp.ones(values.shape[:2])), "centroid").sum()

    gradient = jax.grad(total)(jnp.zeros((1, FRAMES, 24)))
    assert np.isfinite(np.asarray(gradient)).all()


def test_what_is_reached_is_what_is_measured(space, reach):
    low, high = reach["centroid"]
    assert 300 < low < 2500 < high < 7000
    assert high > 1.5 * low


def test_sounds_follow_their_curves_and_correction_helps(space, start, reach):
    low, high = reach["centroid"]
    low, high = low * (high / low) ** 0.2, high * (low / high) ** 0.2
    seconds = FRAMES * 128 / 16000
    curves = [
        [shape(kind, "centroid", seconds=seconds, low=low, high=high, rate=rate)]
        for kind, rate in (("sine", 4.0), ("line", 0.0), ("constant", 0.0))
    ]
    first, made = (searches.search(space, curves, start, reach=reach, steps=60, rounds=rounds) for rounds in (1, 3))
    for before, one in zip(first, made, strict=True):
        errors = one.errors()["centroid"]
        assert errors["median_error"] < 0.08
        assert not errors["correlation"] <= 0.95  # nan of the constant
        assert errors["mean_error"] <= before.errors()["centroid"]["mean_error"]
        again, _ = measure(space, np.asarray(space.render(one.latent)), ("centroid",), FRAMES)
        np.testing.assert_allclose(again["centroid"][0], one.achieved["centroid"], rtol=0.02)  # the latents are those heard
        statistics = space.statistics
        assert (one.latent.values >= statistics["latent_low"] - 1e-5).all()
        assert (one.latent.values <= statistics["latent_high"] + 1e-5).all()
    # Where nothing moves, the bias between bands and sound is all there is, and it is taken away.
    assert made[2].errors()["centroid"]["mean_error"] < 0.6 * first[2].errors()["centroid"]["mean_error"]


def test_far_targets_are_clipped_and_the_lengths_said(space, start, reach):
    curve = Curve("centroid", np.array([0.0, 0.1]), np.array([20.0, 7900.0]))
    (made,) = searches.search(space, [[curve]], start, reach=reach, steps=5, rounds=1)
    assert made.target["centroid"].min() == pytest.approx(reach["centroid"][0])
    assert made.target["centroid"].max() == pytest.approx(reach["centroid"][1])
    assert "its last value is held" in made.remarks[0]
    assert "clipped" in made.remarks[1]


@pytest.mark.slow
def test_two_descriptors_at_once(space, start):
    names = ("centroid", "rolloff")
    reach = searches.reachable(space, names, start, steps=60)
    seconds = FRAMES * 128 / 16000
    middle = {name: np.sqrt(low * high) for name, (low, high) in reach.items()}
    curves = [[shape("constant", name, seconds=seconds, low=middle[name], high=middle[name]) for name in names]]
    (made,) = searches.search(space, curves, start, reach=reach, steps=60, rounds=2)
    assert set(made.errors()) == set(names)
    assert made.errors()["centroid"]["median_error"] < 0.1
    assert made.errors()["rolloff"]["median_error"] < 0.15


@pytest.mark.slow
def test_one_frame(space):
    curve, start = Curve("centroid", np.zeros(1), np.array([2000.0])), searches.begin(space, seconds=0.001)
    (made,) = searches.search(space, [[curve]], start, reach={"centroid": (300.0, 7000.0)}, steps=5, rounds=1)
    assert made.latent.values.shape[1] == 1
    assert np.isfinite(made.wave).all()


def test_what_cannot_be_asked_for(space, start, reach):
    centroid = Curve("centroid", np.zeros(1), np.array([1000.0]))
    with pytest.raises(ValueError, match="f0 cannot be searched for through the decoder; these can: centroid"):
        searches.search(space, [[Curve("f0", np.zeros(1), np.array([200.0]))]], start)
    codes = code_space()
    begun = searches.begin(codes, seconds=0.2)
    with pytest.raises(ValueError, match="needs a space of continuous latents, got one of codes"):
        searches.search(codes, [[centroid]], begun)
    with pytest.raises(ValueError, match="curves of the same descriptors"):
        searches.search(space, [[centroid], [Curve("rolloff", np.zeros(1), np.array([1000.0]))]], start, reach=reach)


def test_a_silent_start_says_so(space, start):
    dead = space.replace(variables={"params": {"mean": jnp.zeros(48), "basis": jnp.zeros((2, 48))}})
    with pytest.raises(ValueError, match="the start is silent"):
        searches.reachable(dead, ("centroid",), start, steps=60)
