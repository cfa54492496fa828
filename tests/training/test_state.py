import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from timbre_jax.models import make_model
from timbre_jax.training.state import create_state, make_optimizer, make_schedule, update_average


@settings(max_examples=20, deadline=None)
@given(st.sampled_from([0.5, 0.9, 0.999]), st.integers(1, 40))
def test_average_is_exponential_with_weights_that_sum_to_one(decay, count):
    x = np.random.default_rng(count).normal(size=count)
    average = jnp.float32(123.0)  # the initial value has no weight
    for step, value in enumerate(x, 1):
        average = update_average(average, jnp.float32(value), jnp.int32(step), decay)
    weights = decay ** np.arange(count)[::-1].astype(np.float64)
    np.testing.assert_allclose(average, (weights * x).sum() / weights.sum(), atol=1e-5)


def test_average_with_zero_decay_equals_parameters():
    assert update_average(jnp.float32(1.0), jnp.float32(2.0), jnp.int32(7), 0.0) == 2.0


def test_cosine_schedule_equals_optax():
    ours = make_schedule("cosine", warmup_steps=10, total_steps=110, final_fraction=0.1)
    theirs = optax.cosine_decay_schedule(1.0, 100, alpha=0.1)
    steps = np.arange(10, 130)
    np.testing.assert_allclose(jax.vmap(ours)(steps), [theirs(s - 10) for s in steps], atol=1e-6)
    np.testing.assert_allclose(jax.vmap(ours)(np.arange(10)), (np.arange(10) + 1) / 10, rtol=1e-6)


def test_constant_schedule_is_one_and_invalid_schedules_are_refused():
    assert make_schedule("constant")(jnp.int32(10**6)) == 1.0
    with pytest.raises(ValueError, match="schedule 'linear': must be one of"):
        make_schedule("linear")
    with pytest.raises(ValueError, match="needs at least one step"):
        make_schedule("cosine", warmup_steps=10)


def test_cosine_warmup_takes_at_most_half_of_steps():
    steps = np.arange(10)
    short = jax.vmap(make_schedule("cosine", warmup_steps=200, total_steps=10, final_fraction=0.01))(steps)
    np.testing.assert_allclose(short[:5], (steps[:5] + 1) / 5, rtol=1e-6)
    assert (np.diff(short[5:]) < 0).all()
    assert short[-1] < 0.15
    assert make_schedule("cosine", warmup_steps=200, total_steps=1)(jnp.int32(0)) == 1.0


def test_adam_with_weight_decay_equals_optax_adamw():
    params = {"w": jnp.array([1.0, -2.0, 3.0])}
    theirs, ours = optax.adamw(0.1, weight_decay=0.02), make_optimizer("adam", weight_decay=0.02)
    states, values = [theirs.init(params), ours.init(params)], [params, params]
    for step in range(4):
        gradient = {"w": jnp.array([0.3, -0.1, 0.2]) * (step + 1)}
        update, states[0] = theirs.update(gradient, states[0], values[0])
        values[0] = optax.apply_updates(values[0], update)
        direction, states[1] = ours.update(gradient, states[1], values[1])
        values[1] = jax.tree.map(lambda p, d: p - 0.1 * d, values[1], direction)
    np.testing.assert_allclose(values[0]["w"], values[1]["w"], rtol=1e-6)


def test_unknown_optimizer_is_refused():
    with pytest.raises(ValueError, match="optimizer 'lion': must be one of adam, sgd"):
        make_optimizer("lion")


def test_state_has_no_weak_types():
    model = make_model("conv_vae", feature_shape=(8, 4), latent_size=2, channels=(2,))
    hyper = {"learning_rate": 1e-3, "kl_weight": 1.0}
    state = jax.eval_shape(lambda key: create_state(model, make_optimizer(), key, hyper=hyper), jax.random.key(0))
    assert set(state.hyper) == {"learning_rate", "kl_weight", "learning_rate_scale"}
    for leaf in jax.tree.leaves(state):
        assert leaf.dtype in (jnp.float32, jnp.int32)
        assert not leaf.weak_type
