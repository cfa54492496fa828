"""Tests of checkpoints: round trips, damaged files, other formats and full disks."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import timbre_jax
from tests.helpers.processes import run
from tests.helpers.runs import assert_same_run, small_config, small_sources
from tests.helpers.shared_programs import shared_programs  # noqa: F401
from timbre_jax import checkpoint, documents
from timbre_jax.checkpoint import CheckpointError
from timbre_jax.training.loop import train_and_evaluate


def train(workdir, **changes):
    return train_and_evaluate(small_config(**changes), workdir, sources=small_sources(), progress=False)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("whole") / "run"
    train(workdir, steps=20)
    return workdir


@pytest.fixture
def copy(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "copy")


def one_line(error):
    return "\n" not in str(error.value) and len(str(error.value)) < 400


def change_document(path, **fields):
    document = json.loads((path / checkpoint.DOCUMENT).read_text())
    (path / checkpoint.DOCUMENT).write_text(json.dumps({**document, **fields}))


TREE = {"a": jnp.arange(6.0).reshape(2, 3), "b": [jnp.int32(3)]}


def test_arrays_and_document_round_trip(tmp_path):
    checkpoint.write(tmp_path / "x", TREE, {"note": "é", "list": [1, 0.1]})
    arrays, document = checkpoint.read(tmp_path / "x", jax.eval_shape(lambda: TREE))
    for a, b in zip(jax.tree.leaves(arrays), jax.tree.leaves(TREE), strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype
    assert (document["note"], document["list"]) == ("é", [1, 0.1])
    checkpoint.write(tmp_path / "x", {"a": jnp.ones(2)}, {})
    assert checkpoint.read(tmp_path / "x", {"a": jax.ShapeDtypeStruct((2,), jnp.float32)})[0]["a"][1] == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["x"]


def test_other_shapes_are_refused(tmp_path):
    checkpoint.write(tmp_path / "x", {"a": jnp.ones((2, 3))}, {})
    with pytest.raises(CheckpointError) as error:
        checkpoint.read(tmp_path / "x", {"a": jax.ShapeDtypeStruct((3, 3), jnp.float32)})
    assert one_line(error)


def test_missing_or_truncated_files_are_a_one_line_error(tmp_path):
    whole, damaged = tmp_path / "whole", tmp_path / "damaged"
    checkpoint.write(whole, TREE, {})
    files = [file.relative_to(whole) for file in whole.rglob("*") if file.is_file()]
    assert len(files) > 3
    for file in files:
        for damage in ("missing", "short"):
            shutil.copytree(whole, damaged)
            if damage == "missing":
                (damaged / file).unlink()
            else:
                content = (damaged / file).read_bytes()
                (damaged / file).write_bytes(content[: len(content) // 2])
            if damage == "missing" or content:
                with pytest.raises(CheckpointError, match=r"damaged.*(is missing|wrong size|is damaged)") as error:
                    checkpoint.read(damaged, jax.eval_shape(lambda: TREE))
                assert one_line(error)
                assert str(damaged) in str(error.value)
            shutil.rmtree(damaged)


def change_a_byte(folder):
    """Changes a byte in the middle of the largest file of a folder."""
    largest = max((file for file in folder.rglob("*") if file.is_file()), key=lambda file: file.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 0xFF
    largest.write_bytes(content)


def test_changed_bytes_are_a_one_line_error(tmp_path):
    checkpoint.write(tmp_path / "x", {"a": jax.random.normal(jax.random.key(0), (1000,))}, {})
    change_a_byte(tmp_path / "x")
    with pytest.raises(CheckpointError, match=r"is damaged; remove") as error:
        checkpoint.read(tmp_path / "x", {"a": jax.ShapeDtypeStruct((1000,), jnp.float32)})
    assert one_line(error)


def test_last_intact_renames_damaged_checkpoints_and_returns_an_older_one(tmp_path):
    assert checkpoint.last_intact(tmp_path) == (None, [])
    for step in (1, 2, 3):
        checkpoint.write(checkpoint.step_path(tmp_path, step), TREE, {})
    change_a_byte(tmp_path / "00000003" / "arrays")
    (tmp_path / "00000002" / checkpoint.DOCUMENT).unlink()
    step, problems = checkpoint.last_intact(tmp_path)
    assert step == 1
    assert "is damaged; it was renamed to 00000003.damaged" in problems[0]
    assert "document.json is missing; it was renamed to 00000002.damaged" in problems[1]
    assert checkpoint.steps(tmp_path) == [1]
    (tmp_path / "00000001" / checkpoint.DOCUMENT).unlink()
    with pytest.raises(CheckpointError, match=r"document\.json is missing"):
        checkpoint.last_intact(tmp_path)


def test_another_format_is_not_damage(tmp_path):
    for step in (1, 2):
        checkpoint.write(checkpoint.step_path(tmp_path, step), TREE, {})
    change_document(tmp_path / "00000002", format=9)
    with pytest.raises(CheckpointError, match=r"wrong format \(got 9"):
        checkpoint.last_intact(tmp_path)
    assert checkpoint.steps(tmp_path) == [1, 2]


def test_space_round_trips_exactly(whole, tmp_path):
    space = timbre_jax.load(whole)
    checkpoint.save_space(tmp_path / "space", space)
    again = timbre_jax.load(tmp_path / "space")
    assert jax.tree.structure(again) == jax.tree.structure(space)
    for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(space), strict=True):
        np.testing.assert_array_equal(a, b)
    assert (again.model, again.representation) == (space.model, space.representation)


def test_loading_something_else_than_a_run_is_one_line(tmp_path):
    for path, message in ((tmp_path / "none", "no such folder"), (tmp_path, r"not a run \(no config\.json")):
        with pytest.raises(CheckpointError, match=message) as error:
            timbre_jax.load(path)
        assert one_line(error)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config.json: cannot be read") as error:
        timbre_jax.load(tmp_path)
    documents.write_config(tmp_path, {})
    with pytest.raises(CheckpointError, match="has no checkpoint yet"):
        timbre_jax.load(tmp_path)


def test_run_of_another_format_is_neither_loaded_nor_resumed(copy):
    document = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**document, "format": 7, "library_version": "9.1.0"}))
    before = sorted(file for file in copy.rglob("*"))
    for action in (timbre_jax.load, lambda path: train(path, steps=40)):
        with pytest.raises(
            CheckpointError, match=r"wrong format \(got 7, expected 1\), written by timbre_jax 9.1.0; use that version"
        ) as error:
            action(copy)
        assert one_line(error)
    assert sorted(file for file in copy.rglob("*")) == before


@pytest.mark.parametrize(
    ("name", "message"),
    [("os.system", "model 'os.system': unknown name"), ("sample_vae", "model 'sample_vae': renamed to 'flow_vae'")],
)
def test_space_with_unknown_model_runs_no_code(copy, name, message):
    path = checkpoint.step_path(copy / "best", 20)
    change_document(path, model={**checkpoint.read_document(path)["model"], "name": name})
    with pytest.raises(CheckpointError, match=message) as error:
        timbre_jax.load(copy)
    assert one_line(error)


def test_run_with_damaged_checkpoint_is_resumed_from_older_one(whole, copy, capsys):
    train(copy, steps=30)
    directory = copy / "checkpoints"
    assert checkpoint.steps(directory) == [20, 30]
    data = max((directory / "00000030").rglob("*"), key=lambda file: file.stat().st_size)
    data.write_bytes(data.read_bytes()[:100])
    capsys.readouterr()
    assert train(copy, steps=30).step == 30
    message = capsys.readouterr().err.strip()
    assert "\n" not in message
    assert "00000030: " in message
    assert "wrong size (got 100 bytes" in message
    assert message.endswith("it was renamed to 00000030.damaged, and training resumes from an older checkpoint")
    assert (directory / "00000030.damaged").is_dir()
    train(whole.parent / "again", steps=30)
    assert_same_run(copy, whole.parent / "again")


def test_run_with_other_progress_is_refused_and_its_space_still_loads(copy):
    path = checkpoint.step_path(copy / "checkpoints", 20)
    change_document(path, progress=None)
    before = {file: file.read_bytes() for file in copy.rglob("*") if file.is_file()}
    with pytest.raises(
        CheckpointError, match=r"00000020: written by .* cannot resume; train again in another --workdir"
    ) as error:
        train(copy, steps=40)
    assert one_line(error)
    assert {file: file.read_bytes() for file in copy.rglob("*") if file.is_file()} == before
    assert timbre_jax.load(copy).latent_size == 3


FULL = """
import resource, sys
sys.path.insert(0, ".")
from tests.helpers.runs import small_config, small_sources
from timbre_jax.training.loop import train_and_evaluate
# A limit on the size of files acts like a full disk for large files.
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    train_and_evaluate(small_config(steps=40), sys.argv[1], sources=small_sources(), progress=False)
except ValueError as error:
    print("error:", error)
"""


def test_full_disk_is_a_one_line_error_and_loses_nothing(copy, whole):
    done = run("-c", FULL, copy)
    errors = [line for line in done.stdout.splitlines() if line.startswith("error:")]
    assert len(errors) == 1, done.stderr
    assert "could not" in errors[0]
    assert "free some space and run the same command again" in errors[0]
    assert checkpoint.steps(copy / "checkpoints") == [20]
    assert timbre_jax.load(copy).latent_size == 3
    train(copy, steps=40)
    train(whole.parent / "undisturbed", steps=40)
    assert_same_run(copy, whole.parent / "undisturbed")
    assert not [entry for entry in copy.rglob(".*") if entry.name.endswith(".tmp")]
