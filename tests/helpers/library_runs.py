"""Stores and runs of small sample libraries, with log-mels of 32 bands."""

from __future__ import annotations

from timbre_jax.data.prepare.make_store import prepare

FRONT = {"name": "log_mel", "length": 4000, "n_frames": 0, "n_fft": 256, "window_length": 256, "hop": 64, "n_mels": 32}


def library_run(folder, store, *, rate: int = 16000, train: dict | None = None, **model):
    """Trains or fits a model on a store and returns the folder of the run."""
    from timbre_jax.training.loop import train_and_evaluate

    settings = {**FRONT, "sample_rate": rate, "iterations": 8, "fmin": 60.0}
    config = {"model": model, "data": {"store": str(store)}, "representation": settings}
    train_and_evaluate(config | ({"train": train} if train else {}), folder, progress=False)
    return folder


def library_store(folder, files, *, rate: int = 16000):
    """Makes a store of a folder of sounds, each of 0.25 s, and returns its folder."""
    store = prepare(
        out=str(folder), source="folder", path=[str(files)], sample_rate=rate, seconds=0.25, splits=(0.6, 0.1, 0.3), workers=1,
        progress=False,
    )  # fmt: skip
    return store.path
