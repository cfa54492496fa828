"""Tests of interpolation between series and of operators on series."""

import jax
import numpy as np
import pytest

from tests.helpers.series import linear_space, random_series
from timbre_jax.generation import series_paths as path
from timbre_jax.types import slice_frames


def _cut(mask, count):
    """Returns the mask with the first sound ending after `count` frames."""
    mask = np.array(mask)
    mask[0, count:] = 0.0
    return mask


def test_stretching_is_linear_and_keeps_the_ends():
    latent = random_series(count=9)
    long = path.stretch(latent, 23)
    place = np.linspace(0, 8, 23)
    for b in range(2):
        for d in range(3):
            np.testing.assert_allclose(long.values[b, :, d], np.interp(place, np.arange(9), latent.values[b, :, d]), atol=1e-5)
        expected = np.interp(place, np.arange(9), latent.conditions["loudness"][b])
        np.testing.assert_allclose(long.conditions["loudness"][b], expected, atol=1e-4)
    np.testing.assert_array_equal(path.stretch(latent, 9).values, latent.values)
    assert path.stretch(latent, 1).values.shape == (2, 1, 3)
    with pytest.raises(ValueError, match="at least 1 latent"):
        path.stretch(latent, 0)


def test_only_the_real_length_is_stretched():
    latent = random_series(count=9)
    latent = latent.replace(mask=_cut(latent.mask, 4))
    result = path.stretch(latent, 7)
    np.testing.assert_allclose(result.values[0], path.stretch(slice_frames(latent, 0, 4), 7).values[0], atol=1e-6)
    np.testing.assert_array_equal(result.mask, 1.0)
    one = path.stretch(random_series(count=1), 5)
    np.testing.assert_array_equal(one.values, np.repeat(random_series(count=1).values, 5, axis=1))


def test_a_mix_that_varies_over_time_equals_the_formula_of_the_paper():
    a, b = random_series(count=12), random_series(count=12, seed=1)
    result = path.mix(a, b, path.linear_shares(12))
    for n in range(12):
        expected = a.values[:, n] * (1 - n / 11) + b.values[:, n] * n / 11
        np.testing.assert_allclose(result.values[:, n], expected, atol=1e-6)
    np.testing.assert_array_equal(result.values[:, 0], a.values[:, 0])
    np.testing.assert_allclose(result.values[:, -1], b.values[:, -1], atol=1e-6)
    level = result.conditions["loudness"][:, 5]
    expected = a.conditions["loudness"][:, 5] * 6 / 11 + b.conditions["loudness"][:, 5] * 5 / 11
    np.testing.assert_allclose(level, expected, atol=1e-4)
    assert result.rate == a.rate


def test_fixed_mixes_include_both_ends():
    a, b = random_series(count=5), random_series(count=5, seed=1)
    np.testing.assert_array_equal(path.mix(a, b, 0.0).values, a.values)
    np.testing.assert_array_equal(path.mix(a, b, 1.0).values, b.values)
    np.testing.assert_allclose(path.mix(a, b, 0.25).values, 0.75 * a.values + 0.25 * b.values, atol=1e-6)
    each = path.mix(a, b, np.stack([np.zeros(5), np.ones(5)]))
    np.testing.assert_array_equal(each.values, np.stack([a.values[0], b.values[1]]))


def test_on_an_arc_the_distance_from_the_mean_changes_linearly():
    from timbre_jax.generation.static_paths import interpolate

    space = linear_space(3)
    mean, deviation = np.float32([1, 0, -1]), np.float32([2.0, 1.0, 0.5])
    space = space.replace(statistics={**space.statistics, "latent_mean": mean, "latent_std": deviation})
    a, b = random_series(count=5), random_series(count=5, seed=1)
    result = np.asarray(path.mix_spherical(space, a, b, 0.25).values)
    for one, two, mixed in zip(*(np.asarray(x).reshape(-1, 3) for x in (a.values, b.values, result)), strict=True):
        arc = interpolate((one - mean) / deviation, (two - mean) / deviation, steps=5, method="spherical")
        np.testing.assert_allclose((mixed - mean) / deviation, arc[1], atol=1e-4)
    np.testing.assert_allclose(path.mix_spherical(space, a, b, 0.0).values, a.values, atol=1e-5)
    np.testing.assert_allclose(path.mix_spherical(space, a, b, path.linear_shares(5)).values[:, -1], b.values[:, -1], atol=1e-5)
    same = path.mix_spherical(space, a, a, 0.3)
    np.testing.assert_allclose(same.values, a.values, atol=1e-5)
    np.testing.assert_array_equal(
        path.mix_spherical(space, a, b, 0.5).conditions["loudness"], path.mix(a, b, 0.5).conditions["loudness"]
    )


def test_reencoding_keeps_what_the_space_encodes_exactly():
    space = linear_space(4)
    latent = random_series(batch=1, count=6, size=4)
    result = path.reencode(space, latent, rounds=2)
    np.testing.assert_allclose(result.values, latent.values, atol=1e-4)  # an orthonormal basis encodes exactly what it decoded
    np.testing.assert_array_equal(result.conditions["loudness"], latent.conditions["loudness"])
    doubled = space.replace(
        variables={"params": {**space.variables["params"], "basis": 0.5 * space.variables["params"]["basis"]}}
    )
    np.testing.assert_allclose(path.reencode(doubled, latent, rounds=2).values, latent.values / 16, atol=1e-4)


def test_series_are_aligned_to_the_longest():
    short, long = path.align(random_series(count=4), random_series(count=9))
    assert short.values.shape == long.values.shape == (2, 9, 3)
    assert path.align(short, long, count=3)[1].values.shape == (2, 3, 3)
    with pytest.raises(ValueError, match=r"align them first"):
        path.mix(random_series(count=4), random_series(count=9), 0.5)


def test_corners_are_mixed_bilinearly():
    corners = tuple(random_series(count=6, seed=seed) for seed in range(4))
    for place, corner in (((0, 0), 0), ((1, 0), 1), ((0, 1), 2), ((1, 1), 3)):
        np.testing.assert_allclose(path.mix_corners(corners, np.float32(place)).values, corners[corner].values, atol=1e-6)
    center = path.mix_corners(corners, np.float32([0.5, 0.5]))
    np.testing.assert_allclose(center.values, np.mean([np.asarray(c.values) for c in corners], axis=0), atol=1e-6)
    path_along_edge = np.stack([np.linspace(0, 1, 6), np.zeros(6)], axis=1)
    edge = path.mix(corners[0], corners[1], path.linear_shares(6))
    np.testing.assert_allclose(path.mix_corners(corners, path_along_edge).values, edge.values, atol=1e-6)
    with pytest.raises(ValueError, match="expected 4 series"):
        path.mix_corners(corners[:3], np.zeros(2))
    with pytest.raises(ValueError, match="must be finite"):
        path.mix_corners(corners, np.float32([np.nan, 0.0]))


def test_scale_offset_and_quantize_keep_the_level():
    latent, center = random_series(), np.float32([1.0, 0.0, -1.0])
    result = path.scale(latent, 2.0, center=center)
    np.testing.assert_allclose(result.values - center, 2 * (latent.values - center), atol=1e-5)
    np.testing.assert_allclose(path.offset(latent, np.float32([1, 0, 0])).values[..., 0], latent.values[..., 0] + 1)
    grid = path.quantize(latent, np.float32([0.5, 0.0, 0.25]), center=center)
    np.testing.assert_allclose(np.mod(grid.values[..., 0], 0.5), 0.0, atol=1e-6)
    np.testing.assert_array_equal(grid.values[..., 1], latent.values[..., 1])
    assert np.abs(grid.values[..., 2] - latent.values[..., 2]).max() <= 0.125 + 1e-6
    for changed in (result, grid):
        np.testing.assert_array_equal(changed.conditions["loudness"], latent.conditions["loudness"])


def test_reverse_moves_level_and_codes_within_the_real_length():
    latent = random_series(count=6)
    latent = latent.replace(codes=np.arange(12).reshape(2, 6), mask=_cut(latent.mask, 4))
    result = path.reverse(latent)
    np.testing.assert_array_equal(result.values[0, :4], latent.values[0, 3::-1])
    np.testing.assert_array_equal(result.values[0, 4:], latent.values[0, 4:])
    np.testing.assert_array_equal(result.values[1], latent.values[1, ::-1])
    np.testing.assert_array_equal(result.conditions["loudness"][1], latent.conditions["loudness"][1, ::-1])
    np.testing.assert_array_equal(result.codes[1], latent.codes[1, ::-1])
    twice = path.reverse(result)
    np.testing.assert_array_equal(twice.values, latent.values)


def test_freeze_repeats_the_first_frame_with_its_level():
    latent = random_series(count=6)
    result = path.freeze(latent, 9)
    np.testing.assert_array_equal(result.values, np.repeat(latent.values[:, :1], 9, axis=1))
    np.testing.assert_array_equal(result.conditions["loudness"], np.repeat(latent.conditions["loudness"][:, :1], 9, axis=1))


def test_noise_depends_on_the_sound_and_the_frame():
    latent, key = random_series(batch=2, count=1000), jax.random.key(3)
    drawn = path.noise(latent, 0.5, key=key).values - latent.values
    short = slice_frames(latent, 0, 70)
    np.testing.assert_allclose(path.noise(short, 0.5, key=key).values - short.values, drawn[:, :70], atol=1e-6)
    assert float(np.std(drawn)) == pytest.approx(0.5, rel=0.03)
    assert np.abs(np.corrcoef(drawn.reshape(-1, 3).T) - np.eye(3)).max() < 0.06


def test_smoothing_equals_scipy_within_the_sound():
    from scipy.ndimage import gaussian_filter1d

    latent = random_series(count=60)
    result = path.smooth(latent, 2.0)
    reference = gaussian_filter1d(np.asarray(latent.values, np.float64), 2.0, axis=1)
    np.testing.assert_allclose(result.values[:, 8:-8], reference[:, 8:-8], atol=1e-6)
    flat = latent.replace(values=np.ones_like(latent.values), mask=np.repeat(np.arange(60)[None] < 30, 2, axis=0))
    np.testing.assert_allclose(path.smooth(flat, 5.0).values, 1.0, atol=1e-5)
    assert path.smooth(latent, 0.0) is latent


def test_crossfades_are_fixed_or_move_over_the_sound():
    a, b = np.ones((1, 100), np.float32), np.zeros((1, 100), np.float32)
    np.testing.assert_allclose(path.crossfade(a, b, 0.25), 0.75)
    np.testing.assert_allclose(path.crossfade(a, b, path.linear_shares(11))[0], np.linspace(1, 0, 100), atol=1e-5)
