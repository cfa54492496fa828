"""Background writes of checkpoints and best spaces: kept and removed files, and failures."""

import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from timbre_jax import checkpoint
from timbre_jax.checkpoint import CheckpointError
from timbre_jax.models import make_model
from timbre_jax.representations import make_representation
from timbre_jax.space import TimbreSpace
from timbre_jax.training.checkpointing.saver import Saver
from timbre_jax.training.checkpointing.schedule import CheckpointSchedule


@pytest.fixture
def saver(tmp_path):
    saver = Saver(tmp_path, CheckpointSchedule(seconds=60.0, share=0.05))
    yield saver
    saver.close()


@pytest.fixture(scope="module")
def space():
    representation = make_representation("harmonic_tracks", n_frames=12, n_harmonics=3, length=4096)
    model = make_model("mean_image", feature_shape=(12, 4))
    return TimbreSpace(
        variables=checkpoint.to_host(checkpoint.init_variables(model, jax.random.key(0))),
        statistics={"latent_mean": np.zeros(1, np.float32)},
        model=model,
        representation=representation,
    )


def arrays(value):
    return {"a": np.full(5, value, np.float32)}


def block(path):
    """Creates a file in place of a folder, so that writing to the folder fails."""
    path.write_text("")
    return path


def test_last_two_checkpoints_and_their_best_spaces_are_kept(saver, space, tmp_path):
    for step, best in ((1, 1), (2, 1), (3, 3), (4, 3)):
        if step == best:
            saver.save_best(step, space, {})
        saver.save(step, arrays(step), {"step": step}, best_step=best)
        saver.finish()
        best_steps = {1: [1], 2: [1], 3: [1, 3], 4: [3]}[step]
        assert checkpoint.steps(tmp_path / "best") == best_steps
    assert checkpoint.steps(tmp_path / "checkpoints") == [3, 4]
    saved, document = checkpoint.read(checkpoint.step_path(tmp_path / "checkpoints", 4), jax.eval_shape(lambda: arrays(0)))
    assert (document["step"], float(saved["a"][0])) == (4, 4.0)


def test_best_space_after_rollback_replaces_later_one(saver, space, tmp_path):
    saver.save_best(30, space, {})
    saver.save(30, arrays(0), {}, best_step=30)
    saver.save_best(20, space, {})
    saver.save(31, arrays(0), {}, best_step=20)
    saver.finish()
    assert checkpoint.steps(tmp_path / "best") == [20]


def test_checkpoints_of_discarded_steps_are_removed(saver, tmp_path):
    for step in (10, 20, 30, 25):
        saver.save(step, arrays(step), {}, best_step=0)
    saver.finish()
    assert checkpoint.steps(tmp_path / "checkpoints") == [20, 25]


def test_failed_write_is_reported_once_and_older_checkpoints_remain(saver, space, tmp_path):
    saver.save_best(1, space, {})
    saver.save(1, arrays(1), {}, best_step=1)
    saver.finish()
    assert saver.problem() is None
    (tmp_path / "best").rename(tmp_path / "before")
    blocking = block(tmp_path / "best")
    saver.save_best(2, space, {})
    saver.wait()
    assert "could not be saved" in saver.problem()
    assert saver.problem() is None
    saver.save(2, arrays(2), {}, best_step=2)  # its best space cannot be written yet
    saver.wait()
    assert "could not be saved" in saver.problem()
    assert checkpoint.steps(tmp_path / "checkpoints") == [1]
    blocking.unlink()
    (tmp_path / "before").rename(tmp_path / "best")
    saver.save(3, arrays(3), {}, best_step=2)  # also writes the missing best space
    saver.finish()
    assert saver.problem() is None
    assert checkpoint.steps(tmp_path / "checkpoints") == [1, 3]
    assert checkpoint.steps(tmp_path / "best") == [1, 2]


def test_three_consecutive_failures_end_the_run(saver, tmp_path):
    block(tmp_path / "checkpoints")
    for step in (1, 2):
        saver.save(step, arrays(0), {}, best_step=0)
        saver.wait()
        assert "could not be saved" in saver.problem()
    saver.save(3, arrays(0), {}, best_step=0)
    saver.wait()
    with pytest.raises(CheckpointError, match="could not be saved"):
        saver.problem()
    saver.save(4, arrays(0), {}, best_step=0)
    with pytest.raises(CheckpointError, match="could not be saved"):
        saver.finish()


def test_saved_arrays_do_not_change_with_training(saver, tmp_path):
    step = jax.jit(lambda x: x + 1.0, donate_argnums=0)
    state = jnp.zeros(100_000)
    for number in range(1, 4):
        state = step(state)
        saver.save(number, checkpoint.to_host({"a": state}), {}, best_step=0)
        state = step(state)
    saver.finish()
    for number, expected in ((2, 3.0), (3, 5.0)):
        path = checkpoint.step_path(tmp_path / "checkpoints", number)
        saved, _ = checkpoint.read(path, {"a": jax.ShapeDtypeStruct((100_000,), jnp.float32)})
        np.testing.assert_array_equal(saved["a"], np.full(100_000, expected, np.float32))


def test_writing_a_best_space_does_not_delay_checkpoints(saver, space, tmp_path, monkeypatch):
    released, save_space = threading.Event(), checkpoint.save_space

    def slowly(*arguments):
        released.wait(30)
        save_space(*arguments)

    monkeypatch.setattr(checkpoint, "save_space", slowly)
    saver.save_best(1, space, {})
    assert not saver.busy
    threading.Timer(0.2, released.set).start()
    saver.save_best(2, space, {})  # waits for the first space, which does not count as a checkpoint
    assert saver._schedule._cost >= 0.1
    assert saver._schedule._last_cost == 0.0
    saver.finish()
    monkeypatch.undo()
    held, write = threading.Event(), checkpoint.write

    def blocked_write(*arguments):
        held.wait(30)
        return write(*arguments)

    monkeypatch.setattr(checkpoint, "write", blocked_write)
    saver.save(3, arrays(3), {}, best_step=2)
    assert saver.busy
    held.set()
    saver.finish()
    assert not saver.busy
