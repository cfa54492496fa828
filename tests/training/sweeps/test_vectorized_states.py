"""Vectorized states, with steps of known results."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from timbre_jax.data.example_source import ListedExamples
from timbre_jax.training.state import TrainState
from timbre_jax.training.sweeps.vectorized_states import VectorizedStates

PROGRAMS = SimpleNamespace(
    # Adds the mean of the batch, times the rate, to the parameter.
    step=lambda state, batch, key: (
        state.replace(step=state.step + 1, params=state.params + state.hyper["rate"] * jnp.mean(batch["values"])),
        {"loss": state.params, "drawn": jax.random.uniform(key)},
    ),
    # Returns the sum of the examples times the parameter.
    score=lambda variables, batch, key, kl_weight: {
        "loss": jnp.sum(variables["params"] * kl_weight * batch["values"] * batch["weight"]),
        "weight": jnp.sum(batch["weight"]),
    },
)


def state(value: float, rate: float, kl_weight: float = 1.0) -> TrainState:
    hyper = {"rate": jnp.float32(rate), "kl_weight": jnp.float32(kl_weight)}
    return TrainState(jnp.int32(0), jnp.float32(value), {}, (), jnp.float32(10 * value), hyper)


def batch(*values: float) -> dict[str, np.ndarray]:
    return {"values": np.array(values, np.float32), "index": np.arange(len(values), dtype=np.int32)}


def test_slots_have_separate_states_batches_keys_and_rates():
    slots = VectorizedStates(PROGRAMS, jax.devices()[:1], at_once=3)
    assert slots.width == 3
    slots.put(1, state(1.0, 0.5))
    slots.put(2, state(2.0, 2.0))
    keys = [None, *jax.random.split(jax.random.key(3), 2)]
    metrics = slots.step([None, batch(2.0, 4.0), batch(1.0, 3.0)], keys)
    assert [float(slots.take(slot).params) for slot in (1, 2)] == [2.5, 6.0]
    assert [float(np.asarray(row["loss"])) for row in metrics[1:]] == [1.0, 2.0]
    for key, row in zip(keys[1:], metrics[1:], strict=True):
        assert jax.device_get(row)["drawn"] == jax.random.uniform(key)
    # Replaces one state; the other remains.
    slots.put(1, state(7.0, 1.0))
    slots.step([None, batch(0.0, 0.0), batch(-1.0, 0.0)], keys)
    assert [float(slots.take(slot).params) for slot in (1, 2)] == [7.0, 5.0]
    assert [int(slots.take(slot).step) for slot in (1, 2)] == [1, 2]


def test_scores_use_averaged_parameters_and_every_example_once():
    slots = VectorizedStates(PROGRAMS, jax.devices()[:1], at_once=2)
    slots.put(0, state(1.0, 0.0))
    slots.put(1, state(2.0, 0.0, kl_weight=3.0))
    # The mean is 2, and the last batch is incomplete.
    source = ListedExamples({"values": np.float32(i), "index": np.int32(i)} for i in range(5))
    scores = slots.scores([jax.random.key(0), None], source, batch_size=2)
    assert [row["loss"] for row in scores] == [pytest.approx(10 * 2.0), pytest.approx(20 * 3.0 * 2.0)]
