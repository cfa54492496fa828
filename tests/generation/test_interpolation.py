"""Tests of mixes of two sounds whose brightness changes evenly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers.codes import code_space, frequency
from tests.helpers.series import FRAMES, tilted_space
from timbre_jax.generation.control.code_table import codes_as_latent
from timbre_jax.generation.control.gradient_search import mean_start
from timbre_jax.generation.control.results import measure
from timbre_jax.generation.interpolation import even_mixes
from timbre_jax.generation.series_paths import mix_spherical

SHARES = np.linspace(0.0, 1.0, 5)


@pytest.fixture(scope="module")
def space():
    return tilted_space()


@pytest.fixture(scope="module")
def ends(space):
    """Returns a dark, narrow sound and a bright, wide one, with uneven brightness between."""
    start = mean_start(space, seconds=FRAMES * 128 / 16000)
    mean, deviation = (np.asarray(space.statistics[name]) for name in ("latent_mean", "latent_std"))
    return tuple(
        start.replace(values=jnp.broadcast_to(mean + deviation * np.array(place), start.values.shape).astype(jnp.float32))
        for place in ([-0.6, -0.8], [0.5, 1.0])
    )


def brightness(space, waves):
    """Returns the median log centroid of each sound."""
    values, audible = measure(space, waves, ("centroid",), FRAMES)
    return np.array([np.median(np.log(row[frames])) for row, frames in zip(values["centroid"], audible, strict=True)])


def unevenness(values):
    """Returns the largest distance of values from the line between their ends, relative."""
    line = np.linspace(values[0], values[-1], len(values))
    return np.abs(values - line).max() / abs(values[-1] - values[0])


def test_even_mixes_are_more_even_than_the_arc(space, ends):
    many = [jax.tree.map(lambda x: np.repeat(np.asarray(x), len(SHARES), axis=0), end) for end in ends]
    arc = mix_spherical(space, *many, np.repeat(SHARES[:, None], many[0].values.shape[1], axis=1))
    plain = unevenness(brightness(space, np.asarray(space.render(arc))))
    mixes = even_mixes(space, *ends, SHARES, names=("centroid",), steps=40)
    even = brightness(space, np.stack([mix.wave for mix in mixes]))
    assert plain > 0.15
    assert unevenness(even) < 0.4 * plain
    assert all(mix.errors()["centroid"]["median_error"] < 0.25 for mix in mixes)
    # The mixes with shares 0 and 1 are as bright as the two sounds.
    ends_bright = brightness(space, np.concatenate([np.asarray(space.render(end)) for end in ends]))
    np.testing.assert_allclose(even[[0, -1]], ends_bright, atol=0.05)


def test_a_share_may_move_over_the_sound(space, ends):
    moving = np.linspace(0.0, 1.0, ends[0].values.shape[1])
    (result,) = even_mixes(space, *ends, [moving], names=("centroid",))
    third = FRAMES // 3
    assert np.median(result.achieved["centroid"][-third:]) > 1.3 * np.median(result.achieved["centroid"][:third])


def test_series_of_other_lengths_and_silence_are_refused(space, ends):
    short = ends[1].replace(values=ends[1].values[:, :4])
    with pytest.raises(ValueError, match="align them first"):
        even_mixes(space, ends[0], short, SHARES)
    with pytest.raises(ValueError, match="both sounds must be audible"):
        even_mixes(
            space.replace(variables={"params": {"mean": jnp.full((48,), -1.0), "basis": jnp.zeros((2, 48))}}), *ends, SHARES
        )


@pytest.mark.slow
def test_mixes_of_codes_are_even():
    space = code_space()
    low, high = (int(np.argmin(np.abs(frequency(np.arange(32)) - hertz))) for hertz in (700.0, 3500.0))
    ends = [codes_as_latent(space, np.full((1, 20), code), gain_db=-20.0) for code in (low, high)]
    mixes = even_mixes(space, *ends, SHARES, names=("centroid",))
    centers = [float(np.median(mix.achieved["centroid"][mix.audible])) for mix in mixes]
    np.testing.assert_allclose(np.log(centers), np.linspace(np.log(centers[0]), np.log(centers[-1]), 5), atol=0.12)
    assert centers[-1] > 3 * centers[0]
    assert all(mix.latent.codes is not None for mix in mixes)
