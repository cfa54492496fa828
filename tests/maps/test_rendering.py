"""Sounds from points of a map."""

from __future__ import annotations

import numpy as np
import pytest

from timbre_jax.maps.rendering import grid_points, make_sound, quick_space

pytestmark = pytest.mark.xdist_group("small_analysis")


def test_few_iterations_are_taken_only_where_needed(run_map):
    run, sound_map = run_map.run, run_map.sound_map
    lines = []
    assert quick_space(run.space, sound_map, milliseconds=1e5, report=lines.append) is run.space
    assert "a sound takes" in lines[0]
    quick_space(run.space, sound_map, milliseconds=1e-3, report=lines.append)
    assert "slower than" in lines[-1]


def test_the_grid_goes_row_by_row_from_the_top_left():
    np.testing.assert_allclose(grid_points(2), [[0.25, 0.75], [0.75, 0.75], [0.25, 0.25], [0.75, 0.25]])


def test_sounds_are_made_at_finite_points_only(run_map):
    with pytest.raises(ValueError, match="finite"):
        make_sound(run_map.run.space, run_map.sound_map, float("nan"), 0.0)
