import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.helpers.runs import SHAPE, examples
from timbre_jax.models import make_model
from timbre_jax.training.state import create_state, make_optimizer, make_schedule
from timbre_jax.training.step import batch_features, make_eval_step, make_train_step

KEY = jax.random.key(7)


def batch_of(count):
    return examples(count).batch(range(count))


def new_state(model, optimizer, **hyper):
    hyper = {"learning_rate": 1e-3, "kl_weight": 1.0, **hyper}
    return jax.jit(lambda key: create_state(model, optimizer, key, hyper=hyper))(jax.random.key(0))


@pytest.fixture(scope="module")
def setting():
    model = make_model("conv_vae", feature_shape=SHAPE, latent_size=3, channels=(4,))
    optimizer = make_optimizer("sgd")
    return model, optimizer, new_state(model, optimizer), jax.jit(make_train_step(model, optimizer))


def close(a, b, **tolerance):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, **{"rtol": 1e-5, "atol": 1e-6, **tolerance})


def test_step_does_not_depend_on_order_of_batch(setting):
    *_, state, step = setting
    batch = batch_of(8)
    order = np.random.default_rng(0).permutation(8)
    one, metrics = step(state, batch, KEY)
    other, _ = step(state, {name: value[order] for name, value in batch.items()}, KEY)
    close(one.params, other.params)
    assert metrics["loss"].dtype == jnp.float32


def test_gradient_of_batch_is_mean_of_its_halves(setting):
    *_, state, step = setting
    whole_batch = examples(8)
    halves = [step(state, whole_batch.batch(part), KEY)[0].params for part in (range(4), range(4, 8))]
    whole = step(state, whole_batch.batch(range(8)), KEY)[0].params
    close(whole, jax.tree.map(lambda a, b: (a + b) / 2, *halves))


def test_noise_depends_on_example_step_and_key(setting):
    *_, state, step = setting
    batch = batch_of(8)

    def loss(state=state, key=KEY, **changes):
        return float(step(state, {**batch, **changes}, key)[1]["loss"])

    assert loss() == loss()
    others = [loss(key=jax.random.key(8)), loss(index=batch["index"] + 1), loss(state.replace(step=state.step + 1))]
    assert len({loss(), *others}) == 4


def test_accumulated_gradient_equals_gradient_of_whole_batch(setting):
    model, optimizer, state, step = setting
    batch = batch_of(8)
    whole, metrics = step(state, batch, KEY)
    parts, metrics_of_parts = jax.jit(make_train_step(model, optimizer, accumulate=2))(state, batch, KEY)
    close(whole.params, parts.params)
    close(metrics, metrics_of_parts)


def test_batch_statistics_are_computed_per_accumulated_part():
    model = make_model("frame_vae", feature_shape=SHAPE, latent_size=2, channels=(4,), strided=0, given=(), invariant_to=())
    optimizer = make_optimizer("adam")
    state = new_state(model, optimizer)
    batch = batch_of(8)
    accumulated, _ = jax.jit(make_train_step(model, optimizer, accumulate=2))(state, batch, KEY)
    mutable = state.mutable
    loss = jax.jit(lambda *arguments: model.apply(*arguments, train=True, method="loss", mutable=list(mutable)))
    for part in (0, 1):
        features = batch_features({name: value[part::2] for name, value in batch.items()})
        keys = jax.random.split(KEY, 4)
        variables = {"params": state.params, **mutable}
        _, mutable = loss(variables, features, keys)
    statistics, expected = (x["batch_stats"]["encoder"] for x in (accumulated.mutable, mutable))
    close(statistics, expected)
    moved = jax.tree.map(lambda x, y: np.abs(x - y).max(), statistics, state.mutable["batch_stats"]["encoder"])
    assert min(jax.tree.leaves(moved)) > 1e-4


def test_clipping_scales_gradient_to_norm(setting):
    model, optimizer, state, step = setting
    batch = batch_of(8)
    free, metrics = step(state, batch, KEY)
    limit = float(metrics["grad_norm"]) / 4
    clipped, clipped_metrics = jax.jit(make_train_step(model, optimizer, clip=limit))(state, batch, KEY)
    np.testing.assert_allclose(clipped_metrics["grad_norm"], metrics["grad_norm"], rtol=1e-5)
    moved = optax.tree.norm(jax.tree.map(jnp.subtract, clipped.params, state.params))
    np.testing.assert_allclose(moved, 1e-3 * limit, rtol=1e-3)
    quarter = jax.tree.map(lambda a, b: a + (b - a) / 4, state.params, free.params)
    close(clipped.params, quarter)


def test_learning_rate_is_peak_times_schedule_times_scale(setting):
    model, optimizer, state, step = setting
    batch = batch_of(8)
    scheduled = jax.jit(make_train_step(model, optimizer, schedule=make_schedule("constant", warmup_steps=10)))
    scaled = state.replace(hyper={**state.hyper, "learning_rate_scale": jnp.float32(0.5)})
    new, metrics = scheduled(scaled, batch, KEY)
    np.testing.assert_allclose(metrics["learning_rate"], 1e-3 * 0.5 * 0.1, rtol=1e-6)
    full, _ = step(state, batch, KEY)
    close(new.params, jax.tree.map(lambda a, b: a + 0.05 * (b - a), state.params, full.params), rtol=1e-4)
    # Changing a hyper-parameter does not compile a new program.
    assert scheduled._cache_size() == 1
    scheduled(scaled.replace(hyper={**state.hyper, "kl_weight": jnp.float32(0.1)}), batch, KEY)
    assert scheduled._cache_size() == 1


def test_augmentation_has_a_key_for_each_example(setting):
    model, optimizer, state, step = setting
    batch = batch_of(8)

    def noisy(keys, values, mask):
        noise = jax.vmap(lambda key: jax.random.uniform(key, SHAPE))(keys)
        return 0.5 * values + 0.5 * noise * mask[..., None]

    augmented = jax.jit(make_train_step(model, optimizer, augment=noisy))
    order = np.arange(8)[::-1]
    one, metrics = augmented(state, batch, KEY)
    other, _ = augmented(state, {name: value[order] for name, value in batch.items()}, KEY)
    close(one.params, other.params)
    assert metrics["loss"] != step(state, batch, KEY)[1]["loss"]


def test_steps_reduce_loss(setting):
    model, _, _, _ = setting
    optimizer = make_optimizer("adam")
    state = new_state(model, optimizer, learning_rate=5e-3, kl_weight=0.1)
    step = jax.jit(make_train_step(model, optimizer, average_decay=0.9), donate_argnums=0)
    batch = batch_of(64)
    losses = []
    for _ in range(150):
        state, metrics = step(state, batch, KEY)
        losses.append(float(metrics["mse"]))
    assert np.mean(losses[-10:]) < 0.6 * np.mean(losses[:3])
    assert int(state.step) == 150
    assert max(np.abs(a - p).max() for a, p in zip(*map(jax.tree.leaves, (state.average, state.params)), strict=True)) > 0


def test_evaluation_weights_examples(setting):
    model, _, state, _ = setting
    evaluate = jax.jit(make_eval_step(model))
    batch = batch_of(6)
    all_of_them = evaluate(state.variables(), {**batch, "weight": np.ones(6, np.float32)}, KEY, 1.0)
    parts = [evaluate(state.variables(), {**batch, "weight": np.float32(np.arange(6) % 2 == odd)}, KEY, 1.0) for odd in (0, 1)]
    for name, total in all_of_them.items():
        np.testing.assert_allclose(total, parts[0][name] + parts[1][name], rtol=1e-5)
    assert float(all_of_them["weight"]) == 6
