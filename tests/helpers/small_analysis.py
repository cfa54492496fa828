"""Small store of notes with planted factors, and runs fitted to it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tests.helpers.notes import note_name, write_nsynth
from tests.helpers.sounds import harmonic_tone
from timbre_jax.data.prepare.make_store import prepare

INSTRUMENTS = {
    "train": ("bass_synthetic_001", "flute_acoustic_002", "reed_acoustic_003", "bass_synthetic_004", "flute_acoustic_005"),
    "valid": ("reed_acoustic_006",),
    "test": ("bass_synthetic_007", "flute_acoustic_008", "reed_acoustic_009"),
}
PITCHES = (45, 53, 61, 69, 77, 85)


def planted_wave(instrument: str, pitch: int, velocity: int) -> np.ndarray:
    """Returns a note of 4 s, its level set by the velocity and its tilt by the family."""
    number = int(instrument[-3:])
    tilt = {"bass": 12.0, "flute": 3.0, "reed": 6.0}[instrument.split("_")[0]] + 0.2 * number
    level = 20 * np.log10(0.4 * velocity / 127)
    time = np.arange(64000) / 16000
    envelope = 10 ** (-3.0 * time / 20) * np.clip((4.0 - time) / 0.5, 0, 1)
    amplitudes = [10 ** ((level - tilt * n) / 20) for n in range(7)]
    return (harmonic_tone(440.0 * 2 ** ((pitch - 69) / 12), amplitudes) * envelope).astype(np.float32)


def make_store(folder: Path) -> Path:
    """Makes a store of 54 notes of 9 instruments in 3 families from files in NSynth's form."""
    waves = {}
    for instrument in (name for instruments in INSTRUMENTS.values() for name in instruments):
        for step, pitch in enumerate(PITCHES):
            velocity = (30, 120, 60)[(step + int(instrument[-3:])) % 3]
            waves[note_name(instrument, pitch, velocity)] = planted_wave(instrument, pitch, velocity)
    write_nsynth(folder / "nsynth", waves)
    (folder / "split.json").write_text(json.dumps({name: list(value) for name, value in INSTRUMENTS.items()}))
    store = prepare(
        out=str(folder / "store"), source="nsynth", path=[str(folder / "nsynth")], split_file=str(folder / "split.json"),
        keep_all=True, workers=1, progress=False,
    )  # fmt: skip
    return Path(store.path)


def fit_run(store: Path, workdir: Path, name: str = "pca", **settings) -> Path:
    """Fits a model in closed form and returns the folder of the run."""
    from timbre_jax.training.loop import train_and_evaluate

    config = {"model": {"name": name, **settings}, "data": {"store": str(store)}}
    train_and_evaluate(config, workdir, progress=False)
    return workdir


SMALL_SERIES = {
    "continuous": {
        "representation": {
            "name": "log_mel", "length": 16000, "n_fft": 512, "window_length": 512, "hop": 256, "n_mels": 24, "fmin": 60.0,
            "n_frames": 0, "reference": "fixed", "range_db": 100.0, "loudness": True, "iterations": 4, "nnls_iterations": 8,
        },
        "model": {"name": "frame_vae", "latent_size": 3, "channels": (16, 16), "strided_layer": 1},
    },
    "discrete": {
        "representation": {"name": "wave_frames", "length": 16384, "hop": 256, "window": 1024},
        "model": {"name": "vq_vae", "latent_size": 4, "window": 1024, "codes": 16, "channels": (4, 4), "width": 16, "depth": 1},
    },
}  # fmt: skip


def untrained_series_run(store: Path, workdir: Path, kind: str) -> Path:
    """Makes the run of an untrained series space.

    The kind is "continuous" (FrameVAE) or "discrete" (VQ-VAE). The space is initialized from the features of the store and has
    the statistics of its latents.
    """
    import jax

    from timbre_jax import checkpoint
    from timbre_jax.data.datasets import open_sources
    from timbre_jax.data.example_source import batches
    from timbre_jax.training.checkpointing.spaces import make_space
    from timbre_jax.training.config import resolve
    from timbre_jax.training.setup import build_model, write_config
    from timbre_jax.training.step import batch_features

    config = resolve({**SMALL_SERIES[kind], "data": {"store": str(store)}})
    sources = open_sources(config, progress=False)
    model = build_model(config, sources)
    variables = jax.jit(lambda: checkpoint.init_variables(model, jax.random.key(0)))()
    variables = model.initialize(variables, lambda: (batch_features(batch) for batch in batches(sources.train, 8)))
    space = make_space(model, variables, sources.representation, sources.train, batch_size=8, examples=16)
    write_config(workdir, config, model, sources)
    checkpoint.save_space(checkpoint.step_path(workdir / "best", 0), space, {"step": 0})
    return workdir
