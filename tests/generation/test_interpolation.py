"""Mixes of two sounds that are bent until brightness goes evenly, in a small linear space of mel bands."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers.codes import code_space, frequency
from tests.helpers.series import FRAMES, tilted_space
from timbre_jax.generation.control.code_table import codes_as_latent
from timbre_jax.generation.control.gradient_search import begin
from timbre_jax.generation.control.results import measure
from timbre_jax.generation.interpolation import even_mixes
from timbre_jax.generation.series_paths import mix_spherical

SHARES = np.linspace(0.0, 1.0, 5)


@pytest.fixture(scope="module")
def space():
    return tilted_space()


@pytest.fixture(scope="module")
def ends(space):
    """Dark and narrow, bright and wide; between them brightness is far from even."""
    start = begin(space, seconds=FRAMES * 128 / 16000)
    mean, deviation = (np.asarray(space.statistics[name]) for name in ("latent_mean", "latent_std"))
    return tuple(
        start.replace(values=jnp.broadcast_to(mean + deviation * np.array(place), start.values.shape).astype(jnp.float32))
        for place in ([-0.6, -0.8], [0.5, 1.0])
    )


def brightness(space, waves):
    """Median of the log centroid of each sound."""
    found, heard = measure(space, waves, ("centroid",), FRAMES)
    return np.array([np.median(np.log(row[ear])) for row, ear in zip(found["centroid"], heard, strict=True)])


def bend(values):
    line = np.linspace(values[0], values[-1], len(values))
    return np.abs(values - line).max() / abs(values[-1] - values[0])


def test_brightness_goes_evenly_where_the_arc_does_not(space, ends):
    many = [jax.tree.map(lambda x: np.repeat(np.asarray(x), len(SHARES), axis=0), end) for end in ends]
    arc = mix_spherical(space, *many, np.repeat(SHARES[:, None], many[0].values.shape[1], axis=1))
    plain = bend(brightness(space, np.asarray(space.render(arc))))
    made = even_mixes(space, *ends, SHARES, names=("centroid",), steps=40)
    bent = brightness(space, np.stack([mix.wave for mix in made]))
    assert plain > 0.15
    assert bend(bent) < 0.4 * plain
    assert all(mix.errors()["centroid"]["median_error"] < 0.25 for mix in made)
    # The ends stay what they were.
    ends_bright = brightness(space, np.concatenate([np.asarray(space.render(end)) for end in ends]))
    np.testing.assert_allclose(bent[[0, -1]], ends_bright, atol=0.05)


def test_a_share_may_move_in_time(space, ends):
    moving = np.linspace(0.0, 1.0, ends[0].values.shape[1])
    (made,) = even_mixes(space, *ends, [moving], names=("centroid",))
    third = FRAMES // 3
    assert np.median(made.achieved["centroid"][-third:]) > 1.3 * np.median(made.achieved["centroid"][:third])


def test_what_cannot_be_even(space, ends):
    short = ends[1].replace(values=ends[1].values[:, :4])
    with pytest.raises(ValueError, match="align them first"):
        even_mixes(space, ends[0], short, SHARES)
    with pytest.raises(ValueError, match="one of both sounds is silent"):
        even_mixes(
            space.replace(variables={"params": {"mean": jnp.full((48,), -1.0), "basis": jnp.zeros((2, 48))}}), *ends, SHARES
        )


@pytest.mark.slow
def test_codes_go_evenly_too():
    """Codes whose numbers say nothing of their place: from 700 to 3500 Hz by way of what lies between."""
    space = code_space()
    low, high = (int(np.argmin(np.abs(frequency(np.arange(32)) - hertz))) for hertz in (700.0, 3500.0))
    ends = [codes_as_latent(space, np.full((1, 20), code), gain_db=-20.0) for code in (low, high)]
    made = even_mixes(space, *ends, SHARES, names=("centroid",))
    found = [float(np.median(mix.achieved["centroid"][mix.heard])) for mix in made]
    np.testing.assert_allclose(np.log(found), np.linspace(np.log(found[0]), np.log(found[-1]), 5), atol=0.12)
    assert found[-1] > 3 * found[0]
    assert all(mix.latent.codes is not None for mix in made)
