"""Grid files: their runs, names of runs, and invalid files."""

from __future__ import annotations

import json

import pytest

from timbre_jax.training.sweeps.grid_file import read_grid, run_names


def grid(tmp_path, content) -> str:
    path = tmp_path / "grid.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


@pytest.mark.parametrize(
    ("content", "runs"),
    [
        (
            {"a.x": [1, 2], "seed": [0, 1]},
            [{"a.x": 1, "seed": 0}, {"a.x": 1, "seed": 1}, {"a.x": 2, "seed": 0}, {"a.x": 2, "seed": 1}],
        ),
        ({"a.x": 1.5, "seed": [3]}, [{"a.x": 1.5, "seed": 3}]),
        ([{"a.x": 1}, {"a.x": 2, "seed": [0, 1]}], [{"a.x": 1}, {"a.x": 2, "seed": 0}, {"a.x": 2, "seed": 1}]),
        ({"a.channels": [[8, 8], [16]]}, [{"a.channels": [8, 8]}, {"a.channels": [16]}]),
        ({"a.name": ["x", "1"], "a.on": [True]}, [{"a.name": "x", "a.on": True}, {"a.name": "1", "a.on": True}]),
    ],
)
def test_grid_is_expanded_to_runs(content, runs, tmp_path):
    read = read_grid(grid(tmp_path, content))
    assert read == runs
    assert [[type(value) for value in run.values()] for run in read] == [
        [type(value) for value in run.values()] for run in runs
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not JSON"),
        ("[]", "has no runs"),
        ({"seed": []}, "has no runs"),
        ([{"seed": 1}, {"seed": [0, 1]}], "has a run twice"),
        ('{"seed": 1, "seed": 2}', "the field 'seed' twice"),
        ({"train": {"kl_weight": 1}}, "train cannot be"),
        ({"seed": None}, "seed cannot be null"),
        ("3", "must be {field: "),
    ],
)
def test_invalid_grids_are_refused(content, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        read_grid(grid(tmp_path, content))
    with pytest.raises(ValueError, match="No such file"):
        read_grid(tmp_path / "none.json")


def test_run_names_state_changes_and_are_valid_folder_names():
    runs = [{"train.kl_weight": 0.5, "seed": 1}, {"train.kl_weight": 4.0, "seed": 1}, {"optimizer.learning_rate": 1e-05}]
    assert run_names(runs) == ["kl_weight=0.5+seed=1", "kl_weight=4+seed=1", "learning_rate=1e-05"]
    # The last part of the field is not unique.
    assert run_names([{"model.name": "a", "augment.name": "b"}]) == ["model.name=a+augment.name=b"]
    stores = [{"data.store": "/x/notes, all"}, {"data.store": ""}, {"model.channels": [8, 8]}, {"model.flow": True}]
    assert run_names(stores) == ["store=notes_all", "store=none", "channels=8-8", "flow=true"]
    long = run_names([{"data.store": "x" * 300 + end} for end in "ab"])
    assert len(set(long)) == 2
    assert all(len(name) <= 120 for name in long)
    with pytest.raises(ValueError, match="sweep: two runs have the name 'store=notes'"):
        run_names([{"data.store": "a/notes"}, {"data.store": "b/notes"}])
