"""Schedule of checkpoints, with a simulated clock."""

import pytest

from timbre_jax.training.checkpointing import schedule
from timbre_jax.training.checkpointing.schedule import CheckpointSchedule


@pytest.fixture(autouse=True)
def two_cores(monkeypatch):
    monkeypatch.setattr(schedule, "available_cores", lambda: 2)


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def run(seconds, *, step, blocked, writing, every=60.0, share=0.05):
    """Returns the intervals between the checkpoints of a simulated run, and its schedule."""
    clock = Clock()
    checkpoints = CheckpointSchedule(seconds=every, share=share, clock=clock)
    checkpoints.start()
    moments, written = [], None
    while clock.now < 100.0 + seconds:
        clock.now += step
        if written is not None and clock.now >= written:
            checkpoints.record_write(writing)
            written = None
        if checkpoints.is_due() and written is None:
            checkpoints.record_start()
            clock.now += blocked
            checkpoints.record_wait(blocked)
            moments.append(clock.now)
            written = clock.now + writing
    return [b - a for a, b in zip([100.0, *moments], moments, strict=False)], checkpoints


def test_checkpoint_is_complete_within_interval():
    gaps, checkpoints = run(1000, step=0.1, blocked=0.05, writing=1.0)
    assert all(gap + 1.0 <= 60.2 for gap in gaps[1:])
    assert all(gap > 55 for gap in gaps[1:])
    assert checkpoints.time_share() == pytest.approx(0.55 / 59, rel=0.1)  # on a CPU, writing occupies one of the cores


def test_long_steps_are_anticipated():
    gaps, _ = run(1000, step=8.0, blocked=0.05, writing=1.0)
    assert all(gap + 1.0 <= 60.2 for gap in gaps)


def test_slow_checkpoints_are_less_frequent():
    gaps, checkpoints = run(4000, step=0.5, blocked=1.0, writing=18.0)
    assert all(200.0 <= gap <= 203.0 for gap in gaps[2:])
    assert 0.04 < checkpoints.time_share() < 0.052


def test_background_writes_cost_nothing_on_accelerators(monkeypatch):
    monkeypatch.setattr("jax.default_backend", lambda: "gpu")
    gaps, checkpoints = run(4000, step=0.5, blocked=1.0, writing=9.0)
    assert all(gap + 9.0 <= 61.0 for gap in gaps[1:])
    assert checkpoints.time_share() == pytest.approx(1.0 / 51, rel=0.1)


def test_interval_is_kept_without_a_limit_of_share():
    gaps, _ = run(100, step=0.5, blocked=1.0, writing=9.0, every=10.0, share=1.0)
    assert max(gaps) <= 11.0


def test_best_spaces_do_not_delay_checkpoints():
    clock = Clock()
    checkpoints = CheckpointSchedule(seconds=60.0, share=0.05, clock=clock)
    checkpoints.start()
    for _ in range(70):
        clock.now += 1.0
        checkpoints.record_wait(0.2, of_checkpoint=False)
    assert checkpoints.is_due()
    assert checkpoints.time_share() == pytest.approx(0.2)
