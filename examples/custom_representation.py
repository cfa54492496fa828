"""Trains on a representation of your own: a linear-frequency spectrogram.

    python examples/custom_representation.py --out=own_representation

A representation is a frozen dataclass of settings with two methods: `analyze` computes features from waves, `synthesize` waves
from features. Once it is registered by its name, stores, caches, training, analyses and generation work with it.
"""

import argparse
import dataclasses
from pathlib import Path
from typing import ClassVar

import jax.numpy as jnp

import timbre_jax
from timbre_jax.audio.griffin_lim import fast_griffin_lim
from timbre_jax.audio.stft import stft
from timbre_jax.representations import REPRESENTATIONS
from timbre_jax.representations.base import fit_waves, length_mask


@dataclasses.dataclass(frozen=True)
class LinearSpectrogram(timbre_jax.Representation):
    """Magnitudes of 257 linear bins in dB, scaled so that -80..0 dB become 0..1."""

    name: ClassVar[str] = "linear_spectrogram"

    sample_rate: int = 16000
    length: int = 32000  # samples; longer sounds are cut and shorter ones padded
    n_fft: int = 512
    hop: int = 128
    range_db: float = 80.0

    @property
    def feature_shape(self) -> tuple[int, int]:
        return 1 + self.length // self.hop, 1 + self.n_fft // 2

    def analyze(self, waves, lengths=None) -> timbre_jax.Features:
        """Computes features [B, N, F] of waves [B, T]."""
        magnitudes = jnp.abs(stft(fit_waves(waves, self.length), n_fft=self.n_fft, hop=self.hop)) / (self.n_fft / 4)
        decibels = 20.0 * jnp.log10(jnp.maximum(magnitudes, 10.0 ** (-self.range_db / 20.0)))
        values = jnp.clip(1.0 + decibels / self.range_db, 0.0, 1.0)
        return timbre_jax.Features(values, length_mask(values, self.hop, lengths), rate=self.rate)

    def synthesize(self, features, key=None):
        """Computes waves [B, T]; the phase, which the features lack, is estimated."""
        values = jnp.clip(features.values, 0.0, 1.0)
        magnitudes = jnp.where(values > 0.0, 10.0 ** ((values - 1.0) * self.range_db / 20.0), 0.0) * (self.n_fft / 4)
        return fast_griffin_lim(magnitudes, hop=self.hop, length=self.length, iterations=30)


REPRESENTATIONS[LinearSpectrogram.name] = LinearSpectrogram


def main(out: Path, *, store: Path | None = None, latent_size: int = 16, **settings) -> timbre_jax.TimbreSpace:
    sounds = timbre_jax.open_store(store) if store else timbre_jax.prepare(source="kits", out=str(out / "kits"))
    config = {
        "representation": {"name": "linear_spectrogram", **settings},
        "model": {"name": "pca", "latent_size": latent_size},
        "data": {"store": str(sounds.path)},
    }
    timbre_jax.train_and_evaluate(config, out / "run")
    space = timbre_jax.load(out / "run")
    original = sounds.audio("test", [0])
    timbre_jax.write_wave(out / "original.wav", original[0], space.sample_rate)
    timbre_jax.write_wave(out / "reconstruction.wav", space.reconstruct(original)[0], space.sample_rate)
    print(f"A sound and its reconstruction from {latent_size} numbers are in {out}.")
    return space


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("own_representation"), help="folder for the store, run and sounds")
    main(parser.parse_args().out)
