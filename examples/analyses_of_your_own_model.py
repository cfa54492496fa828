"""Applies the analyses to a Flax model of your own, trained by your own loop.

    python examples/analyses_of_your_own_model.py --out=own_model

A model needs a `posterior`, a `decode` and the statistics of its latents to be a `TimbreSpace`, which all analyses take.
"""

import argparse
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

import timbre_jax


class MyAutoencoder(timbre_jax.TimbreModel):
    """Dense autoencoder: any linen layers will do."""

    latent_size: int = 4

    def setup(self):
        frames, bins = self.feature_shape
        self.encoder = nn.Sequential([nn.Dense(64), nn.tanh, nn.Dense(self.latent_size)])
        self.decoder = nn.Sequential([nn.Dense(64), nn.tanh, nn.Dense(frames * bins)])

    def posterior(self, features, *, train=False):
        """Returns a Gaussian over latents; an autoencoder has no variance."""
        mean = self.encoder(features.values.reshape(len(features.values), -1))
        return timbre_jax.Posterior(mean, jnp.full_like(mean, -jnp.inf), features.mask, features.conditions, features.rate)

    def decode(self, latent, *, train=False):
        """Returns features [B, N, F] from the latents alone."""
        values = self.decoder(latent.values).reshape(-1, *self.feature_shape)
        return timbre_jax.Features(values, latent.mask, latent.conditions, latent.rate)


def main(out: Path, *, store: Path | None = None, steps: int = 300) -> timbre_jax.TimbreSpace:
    notes = timbre_jax.open_store(store or timbre_jax.prepare(source="soundfont", number=600, out=str(out / "notes")).path)
    representation = timbre_jax.HarmonicTracks()
    features = representation.analyze(notes.audio("train", range(min(256, notes.length("train")))))

    # Your own training: here 300 steps of Adam on the whole set.
    model = MyAutoencoder(feature_shape=representation.feature_shape)
    optimizer = optax.adam(1e-3)
    variables = model.init(jax.random.key(0), features)

    @jax.jit
    def step(variables, state):
        def loss(v):
            return jnp.mean((model.apply(v, features).values - features.values) ** 2)

        updates, state = optimizer.update(jax.grad(loss)(variables), state)
        return optax.apply_updates(variables, updates), state

    state = optimizer.init(variables)
    for _ in range(steps):
        variables, state = step(variables, state)

    # Statistics of the latents: the mean, one standard deviation, and the range of a sweep.
    latents = np.asarray(model.embed(variables, features).values)
    low, high = np.percentile(latents, [1, 99], axis=0)
    statistics = {"latent_mean": latents.mean(0), "latent_std": latents.std(0), "latent_low": low, "latent_high": high}
    space = timbre_jax.TimbreSpace(variables, statistics, model, representation)

    unseen = space.analyze(notes.audio("test", range(min(24, notes.length("test")))))
    print(timbre_jax.ablation(space, unseen).table().markdown())
    print(timbre_jax.sage(space, unseen, samples=4).table().markdown())
    return space


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("own_model"), help="folder for the store of notes")
    main(parser.parse_args().out)
