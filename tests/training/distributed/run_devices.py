"""Trains a small model for 50 steps on all devices and processes, for comparisons.

python tests/training/distributed/run_devices.py MODEL WORKDIR [config.train.FIELD=VALUE ...] [--parallel=pmap]
"""

import argparse
import ast
import dataclasses
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[3]))

from tests.helpers.processes import join_run
from tests.helpers.runs import small_config, small_sources, with_loudness
from timbre_jax.data.datasets import Sources
from timbre_jax.data.example_source import ListedExamples
from timbre_jax.representations import make_representation
from timbre_jax.training.loop import train_and_evaluate

STEPS = 50
HOP, FRAMES, WINDOW = 32, 12, 128
MODELS = {
    # Batch statistics, gradient reversal, an adversary in closed form, neighbors in a batch, beta-NLL.
    "frame_vae": {
        "latent_size": 3, "channels": (16, 16), "strided": 1, "kernel": 3, "reader_weight": 3.0, "beta": 0.5,
        "regressor_convolutions": (8, 8), "regressor_dense": (8,), "reader_features": 16,
        "straight_weight": 1.0, "band_hz": (100.0, 300.0, 900.0, 2700.0),
    },
    # Dropout, flows, class heads.
    "flow_vae": {"latent_size": 3, "channels": (4,), "pools": ((2, 2),), "hidden": 16, "flows": 2, "flow_hidden": 8},
    # A codebook of moving averages with restarts, batch statistics, noise, a GRU.
    "vq_vae": {
        "latent_size": 4, "window": WINDOW, "codes": 16, "channels": (4, 8), "kernel": 5, "width": 16, "depth": 1,
        "train_frames": 8, "restart": 0.5,
    },
    # A basis fitted before the first step.
    "dense_vae": {"latent_size": 3, "basis_size": 12, "width": 16, "depth": 1},
    "conv_vae": {"latent_size": 3, "channels": (4,)},
}  # fmt: skip


def sources_of(model: str) -> Sources:
    """Examples that have what the model needs: loudness and padding, labels, waves."""
    sources = small_sources()
    if model == "frame_vae":
        return dataclasses.replace(sources, train=with_loudness(sources.train), valid=with_loudness(sources.valid))
    if model == "flow_vae":
        labels = ListedExamples({**example, "label_kind": np.int32(i % 3 - 1)} for i, example in enumerate(sources.train))
        return dataclasses.replace(sources, train=labels, classes=(("kind", ("low", "high")),))
    if model == "vq_vae":
        representation = make_representation("wave_frames", sample_rate=16000, length=FRAMES * HOP, hop=HOP, window=WINDOW)
        return Sources(waves(96), waves(20, first=96), representation)
    return sources


def waves(count: int, *, first: int = 0) -> ListedExamples:
    """Returns decaying tones with noise, [FRAMES, HOP]."""
    examples, time = ListedExamples(), np.arange(FRAMES * HOP)
    for index in range(first, first + count):
        generator = np.random.default_rng(index)
        tone = np.sin(2 * np.pi * generator.uniform(0.01, 0.2) * time) * np.exp(-time / generator.uniform(50, 400))
        wave = 0.5 * tone + 0.05 * generator.normal(size=len(time))
        values, mask = wave.reshape(FRAMES, HOP).astype(np.float32), np.ones(FRAMES, np.float32)
        examples.append({"values": values, "mask": mask, "index": np.int32(index)})
    return examples


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("workdir")
    parser.add_argument("fields", nargs="*")
    parser.add_argument("--parallel", default="jit")
    flags = parser.parse_args()
    join_run()
    fields = {name: ast.literal_eval(value) for name, value in (field.split("=") for field in flags.fields)}
    settings = {"steps": STEPS, "log_every": 1, "eval_every": 25, "rollback": {"every": 0}, **fields}
    config = small_config(model={"name": flags.model, **MODELS[flags.model]}, **settings)
    result = train_and_evaluate(config, flags.workdir, sources=sources_of(flags.model), parallel=flags.parallel, progress=False)
    print(result.status, result.step, flush=True)
