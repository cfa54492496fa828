"""Trains the embedding for the Fréchet and kernel distances between sets of sounds.

  python experiments/studies/train_embedding.py --store=notes,hits --out=embedding.npz
  python experiments/studies/train_embedding.py --store=musescore,nsynth,musescore_kits,sonic_pi --out=embedding_timbre.npz
  python experiments/studies/train_embedding.py --store=hits --out=embedding_hits.npz --steps=300 --maximum=500

Stores and accuracy of the weights in the library: docs/results.md
"""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path

import numpy as np

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])  # the clone, not the program's folder

from experiments import command_line
from timbre_jax.settings import Settings, setting

CROP_FRAMES = 100


@dataclasses.dataclass(frozen=True)
class EmbeddingTraining(Settings):
    """Settings of the training of an embedding.

    The weights in the library, `timbre_jax/metrics/embedding_timbre.npz`, may only be trained on sounds whose license allows to
    distribute them: notes and kits of MuseScore General (MIT), nine instruments of NSynth (CC BY 4.0, Engel et al. 2017) and
    the samples of Sonic Pi (CC0), but not TimGM6mb (GPL-2). Their stores:

      BANK=/usr/share/sounds/sf2/MuseScore_General_Full.sf2     # Debian: musescore-general-soundfont-lossless
      python experiments/prepare.py --path=$BANK --number=8000 --out=musescore
      python experiments/prepare.py --source=nsynth --path=NSYNTH --split_file=split.json --out=nsynth
      python experiments/prepare.py --source=kits --path=$BANK --out=musescore_kits
      python experiments/prepare.py --source=folder --path=/usr/share/sonic-pi/samples --classes=words --out=sonic_pi

    On the split "test", with the statistics in brackets, they reach for the pitch 87 % (69 %) of MuseScore's notes and 93 %
    (73 %) of NSynth's; for the class 25 % (27 %) of MuseScore's notes, 27 % (23 %) of NSynth's, 38 % (42 %) of MuseScore's kits
    and 63 % (38 %) of Sonic Pi's 16 samples. So the embedding predicts pitch better than
    the statistics, but the class of unseen instruments no better. Training takes 4 minutes on one core.
    """

    store: tuple[str, ...] = setting(help="Comma-separated stores to train on.")
    out: str = setting(help="File of the weights, .npz.")
    steps: int = setting(1200, "Number of training steps.", low=1)
    batch_size: int = setting(64, "Number of sounds in a training step.", low=1)
    learning_rate: float = setting(2e-3, "Largest learning rate of AdamW.", low=0.0)
    maximum: int = setting(0, "Largest number of sounds of each store, drawn evenly over instruments; 0 means all.", low=0)
    seed: int = setting(0, "Random seed for initial weights, batches and augmentation.", low=0)
    progress: bool = setting(True, "Show progress bars.")


def train_embedding(settings: EmbeddingTraining) -> Path:
    """Trains an embedding to predict pitch and class, writes it, and prints its accuracy.

    Trains on the split "train" of each store and evaluates "valid" and "test". The class is the family; the pitch counts if the
    store has it. The printed accuracy is the kNN accuracy (5 nearest training sounds) of the class and of the semitone, in the
    embedding and in statistics of the spectrogram.

    Args:
      settings: stores and training.

    Returns:
      The file of the weights.

    Raises:
      ValueError: if the stores have fewer than two classes, or the training diverges.
    """
    import jax
    import jax.numpy as jnp
    import optax
    from tqdm import tqdm

    from timbre_jax.data.importers.class_rules import UNLABELED
    from timbre_jax.data.store import Store
    from timbre_jax.metrics.embedding_network import EmbeddingNetwork, EmbeddingSettings, write_network

    steps, seed, progress = settings.steps, settings.seed, settings.progress
    stores = [Store.open(path) for path in settings.store]
    images, pitch, names = _read_images(stores, "train", settings.maximum, seed, progress)
    classes = tuple(sorted(set(names) - {UNLABELED, ""}))
    if len(classes) < 2:
        raise ValueError(f"--store: got {len(classes)} classes of sounds, expected 2 or more")
    label = np.array([classes.index(name) if name in classes else -1 for name in names])
    # Classes are drawn by the square root of their share, between equal shares and the shares of the stores.
    share = np.bincount(label + 1)[label + 1] ** -0.5
    share /= share.sum()
    network = EmbeddingNetwork(EmbeddingSettings(classes=classes))
    generator = np.random.default_rng(seed)
    params = network.init(jax.random.key(seed), jnp.zeros((1, CROP_FRAMES, images.shape[2])))["params"]
    schedule = optax.warmup_cosine_decay_schedule(0.0, settings.learning_rate, min(100, steps // 10 + 1), steps)
    optimizer = optax.adamw(schedule, weight_decay=1e-2)
    state = optimizer.init(params)

    def cross_entropy(logits, labels):
        """Returns the mean over sounds with a label, which is not -1."""
        training_sounds = (labels >= 0).astype(jnp.float32)
        terms = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.maximum(labels, 0))
        return jnp.sum(terms * training_sounds) / jnp.maximum(jnp.sum(training_sounds), 1.0)

    def loss(params, values, pitch, label):
        _, pitch_logits, class_logits = network.apply({"params": params}, values)
        return cross_entropy(pitch_logits, pitch) + cross_entropy(class_logits, label)

    @jax.jit
    def step(params, state, values, pitch, label):
        value, gradient = jax.value_and_grad(loss)(params, values, pitch, label)
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state, value

    running = None
    with tqdm(total=steps, desc="steps", disable=not progress) as bar:
        for _ in range(steps):
            rows = generator.choice(len(images), settings.batch_size, p=share)
            params, state, value = step(params, state, _augmented(images[rows], generator), pitch[rows], label[rows])
            running = float(value) if running is None else 0.98 * running + 0.02 * float(value)
            bar.set_postfix_str(f"loss {running:.3f}")
            bar.update()
    if not np.isfinite(running):
        raise ValueError(f"--learning_rate={settings.learning_rate:g}: training diverged; try a smaller one")
    trained = {"sounds": len(images), "steps": steps, "stores": [opened.index["title"] for opened in stores]}
    path = write_network(settings.out, network.settings, params, trained)
    print(f"{path}: {os.path.getsize(path) / 1e6:.2f} MB, {len(classes)} classes, {len(images)} sounds")
    _print_accuracy(path, stores, (images, pitch, names), progress)
    return path


def _read_images(stores, split: str, maximum: int, seed: int, progress: bool):
    """Returns images [M, 200, 64] float16, pitches [M] (-1: none) and classes [M] of a split."""
    from tqdm import tqdm

    from timbre_jax.evaluation.runs import even_choice
    from timbre_jax.metrics.embedding import log_mel_images

    images, pitches, names = [], [], []
    for store in stores:
        if split not in store.splits:
            continue
        metadata = store.metadata(split)
        chosen = np.arange(store.length(split))
        if maximum:
            chosen = even_choice(metadata["instrument"], maximum, seed=seed)
        for start in tqdm(range(0, len(chosen), 64), desc=f"{store.path.name} {split}", disable=not progress):
            waves = store.audio(split, chosen[start : start + 64])
            images.append(log_mel_images(waves, store.sample_rate).astype(np.float16))
        pitches.append(metadata["pitch"][chosen])
        names.append(metadata["family"][chosen])
    if not images:
        return np.zeros((0, 1, 1), np.float16), np.zeros(0, np.int64), np.zeros(0, str)
    return np.concatenate(images), np.concatenate(pitches), np.concatenate(names)


def _augmented(images: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Returns 2 s of each image, at random, with a tilt, noise and a missing frequency band."""
    count, frames, bands = images.shape
    starts = generator.integers(0, frames - CROP_FRAMES + 1, count) * (generator.random(count) < 0.3)
    values = images[np.arange(count)[:, None], starts[:, None] + np.arange(CROP_FRAMES)].astype(np.float32)
    silent = values <= 0.0
    tilt = generator.normal(0.0, 0.08, (count, 1, 1)) * np.linspace(-1.0, 1.0, bands)
    values = values + tilt + generator.normal(0.0, 0.02, values.shape).astype(np.float32)
    low = generator.integers(0, bands, (count, 1))
    missing = (np.arange(bands) >= low) & (np.arange(bands) < low + generator.integers(0, 9, (count, 1)))
    values = np.where(missing[:, None, :], 0.0, values)
    return np.where(silent, 0.0, np.clip(values, 0.0, 1.0)).astype(np.float32)


def _print_accuracy(path: Path, stores, training_sounds, progress: bool) -> None:
    """Prints the kNN accuracy of class and pitch on held-out sounds."""
    from timbre_jax.data.importers.class_rules import UNLABELED
    from timbre_jax.metrics.embedding import image_embedding
    from timbre_jax.metrics.knn import neighbor_accuracy

    for split in ("valid", "test"):
        for store in stores:
            images, pitch, names = _read_images([store], split, 0, 0, progress)
            if not len(images):
                continue
            for embedding in (str(path), "mel_statistics"):
                train, held_out = (_embed_images(image_embedding(embedding), x) for x in (training_sounds[0], images))
                train_rows, rows = training_sounds[2] != UNLABELED, names != UNLABELED
                by_class = neighbor_accuracy(train[train_rows], training_sounds[2][train_rows], held_out[rows], names[rows])
                share, baseline = 100 * by_class.accuracy, 100 * by_class.baseline
                line = f"{store.path.name} {split}, {Path(embedding).stem}: class {share:.1f} % (baseline {baseline:.1f} %)"
                train_rows, rows = training_sounds[1] >= 0, pitch >= 0
                if train_rows.any() and rows.any():
                    by_pitch = neighbor_accuracy(train[train_rows], training_sounds[1][train_rows], held_out[rows], pitch[rows])
                    line += f", pitch {100 * by_pitch.accuracy:.1f} %"
                print(line)


def _embed_images(embed, images: np.ndarray) -> np.ndarray:
    """Returns the points of images in an embedding."""
    from timbre_jax.inference.batched import position_batches

    parts = [np.asarray(embed(images[rows].astype(np.float32))) for rows in position_batches(len(images), 64)]
    return np.concatenate(parts)[: len(images)]


def main(_) -> None:
    """Runs the program."""
    command_line.use_compilation_cache()
    command_line.print_written(train_embedding(command_line.settings(EmbeddingTraining)))


if __name__ == "__main__":
    command_line.define_flags(training=EmbeddingTraining)
    command_line.run(main, __doc__)
