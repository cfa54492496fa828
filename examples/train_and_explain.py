"""Trains a small space of notes and explains its latents.

    python examples/train_and_explain.py --out=explained

Renders notes of the General MIDI bank that pip installed, trains a VAE with 8 latents on them, and asks three questions: how
much does each latent contribute to the sound, how strongly does it change it, and which property of the notes does it follow?
"""

import argparse
from pathlib import Path

import numpy as np

import timbre_jax


def main(out: Path, *, store: Path | None = None, steps: int = 300, sounds: int = 48, **model) -> timbre_jax.TimbreSpace:
    # 1. A store: notes on disk, split by instrument. A finished store is opened, not made again.
    notes = timbre_jax.open_store(store or timbre_jax.prepare(source="soundfont", number=600, out=str(out / "notes")).path)

    # 2. A run: the configuration lists only what differs from `timbre_jax.default_config()`.
    config = {
        "model": {"name": "dense_vae", "latent_size": 8, **model},
        "optimizer": {"schedule": "cosine", "warmup_steps": steps // 10},
        "data": {"store": str(notes.path)},
        "train": {"steps": steps, "average_decay": 0.95, "batch_size": min(64, notes.length("train"))},
    }
    timbre_jax.train_and_evaluate(config, out / "run")

    # 3. The space: an immutable pytree. `analyze` computes features, `encode` computes latents.
    space = timbre_jax.load(out / "run")
    rows = range(min(sounds, notes.length("test")))
    features = space.analyze(notes.audio("test", rows))
    latents = np.asarray(space.encode(features).values)

    # 4. Analyses return plain data. Shapley values are exact up to 10 latents: all 2^8 subsets are decoded.
    shapley = timbre_jax.shapley(space, features)["mse"]
    print(shapley.table().markdown())
    strength = timbre_jax.sensitivity(space, features)
    print(strength.table().markdown())

    # 5. Rank correlation of each latent with what is known of each note.
    known = notes.metadata("test", ("pitch", "velocity"))
    labels = {name: column[rows] for name, column in known.items()}
    print(timbre_jax.correlation(latents, labels, resamples=200).table().markdown())

    most = int(np.argmax(shapley.values.mean(0)))
    print(f"Latent {most} contributes most. Five sounds along it are in {out / 'sweep'}.")
    points = timbre_jax.sweep(space, latents.mean(0), most, steps=5)
    for number, wave in enumerate(space.render(points)):
        timbre_jax.write_wave(out / "sweep" / f"{number}.wav", wave, space.sample_rate)
    return space


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("explained"), help="folder for the store, the run and the sounds")
    parser.add_argument("--steps", type=int, default=300, help="training steps")
    arguments = parser.parse_args()
    main(arguments.out, steps=arguments.steps)
