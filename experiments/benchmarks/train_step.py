"""Training steps of natsiou2023, and the time of their parts: `train_step/natsiou2023`.

Ours is `make_train_step` as in training: 128 notes of 8 x 372 features, compiled with a donated state. Theirs is the same
network in its usual form (linen's Conv and ConvTranspose, optax's Adam and apply_updates, one key for a batch, no donation),
with the same parameters and loss. Both run in one process, in turns; the best round counts, without compilation.

The rows `.../share/...` are the times of parts of our step in %. `encoder`, `decoder` and `loss`, forward and backward, are
timed as separate programs, so that their sum is not exactly 100 %. `optimizer` is clipping, Adam and the average of parameters.
`pipeline` is the time of the host for a batch, in parallel with the device.
"""

from __future__ import annotations

from experiments.benchmarks.timing import best_seconds, rates_row, row

BATCH, ROUNDS, FRAMES, ROWS = 128, 7, 372, 8


def usual_model():
    """Returns the network in its usual form, with parameters named and shaped as in `ConvVAE`."""
    import flax.linen as nn

    class UsualDecoder(nn.Module):
        @nn.compact
        def __call__(self, z):
            x = nn.relu(nn.Dense(2 * 93 * 32)(z)).reshape(-1, 2, 93, 32)
            x = nn.relu(nn.ConvTranspose(32, (3, 3), (2, 2), name="Conv3x3_0")(x))
            x = nn.relu(nn.ConvTranspose(32, (3, 3), (2, 2), name="Conv3x3_1")(x))
            return nn.Conv(1, (3, 3), name="Conv3x3_2")(x)[..., 0]

    class UsualEncoder(nn.Module):
        @nn.compact
        def __call__(self, x):
            for layer in range(2):
                x = nn.relu(nn.Conv(32, (3, 3), strides=2, name=f"Conv3x3_{layer}")(x))
            x = x.reshape(x.shape[0], -1)
            return nn.Dense(8, name="mean")(x), nn.Dense(8, name="log_variance")(x)

    class UsualVAE(nn.Module):
        def setup(self):
            self.encoder, self.decoder = UsualEncoder(), UsualDecoder()

        def __call__(self, values, key):
            import jax
            import jax.numpy as jnp
            import optax

            picture = values.transpose(0, 2, 1)
            mean, log_variance = self.encoder(picture[..., None])
            z = mean + jnp.exp(0.5 * log_variance) * jax.random.normal(key, mean.shape)
            logits = self.decoder(z)
            cross_entropy = optax.sigmoid_binary_cross_entropy(logits, picture).sum((1, 2))
            kl = 0.5 * (mean**2 + jnp.exp(log_variance) - 1 - log_variance).sum(1)
            return jnp.mean(cross_entropy + kl)

    return UsualVAE()


def run() -> list[dict]:
    """Returns the rows of the benchmark."""
    import jax
    import numpy as np
    import optax

    from timbre_jax.data.example_source import ListedExamples
    from timbre_jax.data.loader import make_pipeline
    from timbre_jax.models import make_model
    from timbre_jax.training.distributed.sharding import make_placement
    from timbre_jax.training.state import create_state, make_optimizer
    from timbre_jax.training.step import make_train_step

    random = np.random.default_rng(0)
    examples = [
        {
            "values": random.uniform(size=(FRAMES, ROWS)).astype(np.float32),
            "mask": np.ones(FRAMES, np.float32),
            "index": np.int32(i),
        }
        for i in range(4 * BATCH)
    ]
    pipeline = make_pipeline(ListedExamples(examples), batch_size=BATCH, seed=0)
    batch = next(pipeline)
    model, optimizer, placement = make_model("conv_vae"), make_optimizer(), make_placement("jit")
    hyper = {"learning_rate": 1e-3, "kl_weight": 1.0}
    state = placement.compile_eval(lambda key: create_state(model, optimizer, key, hyper=hyper))(jax.random.key(0))
    start = jax.device_get(state.params)
    step = placement.compile_train(make_train_step(model, optimizer))
    placed, key = placement.train_batch(batch), jax.random.key(1)

    usual, adam = usual_model(), optax.adam(1e-3)

    @jax.jit
    def usual_step(params, opt_state, values, key):
        loss, gradient = jax.value_and_grad(lambda p: usual.apply({"params": p}, values, key))(params)
        updates, opt_state = adam.update(gradient, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, loss

    states = {"ours": state, "theirs": (jax.device_put(start), adam.init(start))}

    def ours():
        states["ours"], metrics = step(states["ours"], placed, key)
        return metrics["loss"]

    def theirs():
        params, opt_state, loss = usual_step(*states["theirs"], placed["values"], key)
        states["theirs"] = params, opt_state
        return loss

    parts = _part_programs(model, jax.device_put(start), placed, key)
    state = states["ours"]
    update = jax.jit(_optimizer_part(optimizer))
    timed = {"ours": ours, "theirs": theirs, **parts, "optimizer": lambda: update(states["ours"])}
    timed["pipeline"] = lambda: next(pipeline)["values"]
    seconds = best_seconds(timed, rounds=ROUNDS)
    name = "train_step/natsiou2023"
    shares = {part: 100.0 * seconds[part] / seconds["ours"] for part in (*parts, "optimizer", "pipeline")}
    return [
        rates_row(name, "steps/s", 1.0 / seconds["ours"], 1.0 / seconds["theirs"]),
        *(row(f"{name}/share/{part}", "% of a step", share) for part, share in shares.items()),
    ]


def _part_programs(model, params, batch, key) -> dict:
    """Returns encoder, decoder and loss with their gradients as separate programs."""
    import jax
    import jax.numpy as jnp

    from timbre_jax.training.step import batch_features, example_keys

    features, variables = batch_features(batch), {"params": params}
    keys = example_keys(key, batch["index"])[:, 0]
    posterior = model.apply(variables, features, method="posterior")
    z = posterior.sample(keys).values
    raw = model.apply(variables, z, method="raw")

    def encode(variables):
        q = model.apply(variables, features, method="posterior")
        return jnp.sum(q.mean * z) + jnp.sum(q.log_variance * z)

    def decode(variables, z):
        return jnp.sum(model.apply(variables, z, method="raw") * raw)

    def loss(raw, posterior):
        nll = model.apply(variables, raw, method=lambda m, r: m.head.nll(r, features.values))
        return jnp.mean(nll + posterior.kl()) + 0.0 * jnp.sum(posterior.sample(keys).values)

    encode, decode = jax.jit(jax.grad(encode)), jax.jit(jax.grad(decode, (0, 1)))
    loss = jax.jit(jax.grad(loss, (0, 1), allow_int=True))
    return {
        "encoder": lambda: encode(variables),
        "decoder": lambda: decode(variables, z),
        "loss": lambda: loss(raw, posterior),
    }


def _optimizer_part(optimizer):
    """Returns the update of parameters and their average as a function of the state."""
    import jax
    import optax

    from timbre_jax.training.state import update_average

    def update(state):
        norm = optax.tree.norm(state.params)
        direction, opt_state = optimizer.update(state.params, state.opt_state, state.params)
        params = jax.tree.map(lambda p, d: p - norm * 1e-9 * d, state.params, direction)
        return params, opt_state, update_average(state.average, params, state.step, 0.999)

    return update
