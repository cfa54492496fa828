"""Consensus of simulated processes, which receive signals at different times."""

import threading

import numpy as np
import pytest

from timbre_jax.training.distributed import consensus
from timbre_jax.training.distributed.consensus import StepConsensus


class SimulatedProcesses:
    """Implementation of `processes.maximum` for threads."""

    def __init__(self, count):
        self.local = threading.local()
        self.given, self.barrier, self.met = [None] * count, threading.Barrier(count, timeout=20), []

    def maximum(self, *values):
        self.given[self.local.number] = values
        self.barrier.wait()
        result = np.max(self.given, axis=0).tolist()
        if self.barrier.wait() == 0:
            self.met.append(result)
        return result


@pytest.mark.parametrize("step_seconds", [0.0001, 0.02, 3.0])
def test_signal_to_one_process_stops_all_at_same_step(step_seconds, monkeypatch):
    group, stopped = SimulatedProcesses(3), {}
    monkeypatch.setattr(consensus.jax, "process_count", lambda: 3)
    monkeypatch.setattr(consensus.processes, "is_main", lambda: group.local.number == 0)
    monkeypatch.setattr(consensus.processes, "maximum", group.maximum)

    def process(number):
        group.local.number = number
        now = 1000.0 * number
        agreed = StepConsensus(clock=lambda: now)
        for step in range(1, 100_000):
            now += step_seconds * (1.0 + 0.3 * number)  # clocks and speeds differ
            received = 15 if number == 2 and step >= 57 else 0
            signal, due = agreed.agree(received, lambda step=step: step >= 40, step)
            if signal:
                stopped[number] = (step, signal, due)
                return

    threads = [threading.Thread(target=process, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(stopped) == 3
    assert len(set(stopped.values())) == 1
    step, signal, due = stopped[0]
    assert (signal, due) == (15, True)
    assert 57 <= step <= 57 + max(1, 1.1 * consensus.EXCHANGE_SECONDS / step_seconds)


def test_rollback_does_not_delay_exchange(monkeypatch):
    monkeypatch.setattr(consensus.jax, "process_count", lambda: 2)
    monkeypatch.setattr(consensus.processes, "is_main", lambda: True)
    monkeypatch.setattr(consensus.processes, "maximum", lambda *values: list(values))
    now = 0.0
    agreed = StepConsensus(clock=lambda: now)
    # With steps of a millisecond, exchanges are at about steps 1 and 501.
    for step in range(1, 700):
        now += 0.001
        agreed.agree(0, lambda: False, step)
    assert agreed.agree(15, lambda: False, 699)[0] == 0
    assert agreed.agree(15, lambda: False, 5)[0] == 15


def test_single_process_decides_at_every_step():
    assert StepConsensus().agree(2, lambda: True, 7) == (2, True)
