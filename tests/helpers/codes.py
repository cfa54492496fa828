"""Discrete series space with known codes: code k is noise in a band around `frequency(k)`."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from timbre_jax.audio.level import db_to_amplitude
from timbre_jax.audio.noise import filtered_noise, filtered_noise_power
from timbre_jax.generation.control.code_table import CodeTable, code_table
from timbre_jax.models.base import TimbreModel
from timbre_jax.models.layers.window_layers import centered_windows, leveled_windows
from timbre_jax.representations.wave_frames import WaveFrames
from timbre_jax.space import TimbreSpace
from timbre_jax.types import Features, Posterior

RATE, HOP, WINDOW = 16000, 256, 1024
LOW, HIGH = 500.0, 5000.0


def frequency(code, codes: int = 32) -> np.ndarray:
    """Returns the center of the band of a code in Hz; equal ratios in shuffled order."""
    place = (np.asarray(code) * 7) % codes
    return LOW * (HIGH / LOW) ** (place / (codes - 1))


class BandCodes(TimbreModel):
    """Model whose latent [1] is log2 of the band's frequency in kHz.

    The encoder selects the code nearest to the centroid of the frame.

    Attributes:
      codes: number of codes.
      drag: weight of the previous code in the decoded band; as in a recurrent decoder, a code then sounds different after
        another code.
    """

    kind = "series"
    stochastic_decoder = True
    num_codebooks = 1

    codes: int = 32
    drag: float = 0.0

    @property
    def table(self):
        return np.log2(frequency(np.arange(self.codes), self.codes) / 1000.0).astype(np.float32)[:, None]

    def setup(self):
        self.vectors = self.variable("codebook", "vectors", lambda: jnp.asarray(self.table))

    def codebook(self, variables):
        return variables["codebook"]["vectors"]

    def from_codes(self, variables, codes):
        return variables["codebook"]["vectors"][codes]

    def posterior(self, features, *, train=False):
        spectra = jnp.abs(jnp.fft.rfft(features.values))
        bins = jnp.arange(spectra.shape[-1]) * (RATE / features.values.shape[-1])
        center = jnp.log2(jnp.maximum((spectra @ bins) / jnp.maximum(spectra.sum(-1), 1e-9), 100.0) / 1000.0)
        codes = jnp.argmin(jnp.abs(center[..., None] - self.vectors.value[:, 0]), axis=-1).astype(jnp.int32)
        values = self.vectors.value[codes]
        minus = jnp.full_like(values, -jnp.inf)
        waves = features.values.reshape(features.values.shape[0], -1)
        _, gain = leveled_windows(centered_windows(waves, hop=HOP, window=WINDOW), hop=HOP)
        conditions = {**features.conditions, "gain_db": gain}
        return Posterior(values, minus, features.mask, conditions, features.rate, codes=codes)

    def decode(self, latent, *, train=False, key=None):
        key = jax.random.key(0) if key is None else key
        place = latent.values[..., 0]
        before = jnp.concatenate([place[:, :1], place[:, :-1]], axis=1)
        center = 1000.0 * 2.0 ** ((1.0 - self.drag) * place + self.drag * before)
        bins = jnp.arange(WINDOW // 2 + 1) * (RATE / WINDOW)
        shape = jnp.exp(-0.5 * jnp.square((bins - center[..., None]) / (0.08 * center[..., None])))
        gain = db_to_amplitude(latent.conditions["gain_db"], floor_db=-100.0)
        power = filtered_noise_power(shape, hop=HOP)
        waves = filtered_noise(shape * (gain * jax.lax.rsqrt(power))[..., None], key, hop=HOP)
        values = waves.reshape(waves.shape[0], -1, HOP)
        return Features(values, jnp.ones(values.shape[:2]), latent.conditions, latent.rate)

    def __call__(self, features, *, train=False):
        return self.decode(self.posterior(features).mode())


def code_space(codes: int = 32, *, drag: float = 0.0) -> TimbreSpace:
    """Returns the space of `BandCodes`."""
    model = BandCodes(feature_shape=(64, HOP), latent_size=1, codes=codes, drag=drag)
    representation = WaveFrames(sample_rate=RATE, length=64 * HOP, hop=HOP, window=WINDOW)
    variables = {"codebook": {"vectors": jnp.asarray(model.table)}}
    spread = {"latent_low": -1.0, "latent_high": 2.4, "latent_mean": 0.5, "latent_std": 1.0}
    statistics = {name: jnp.full(1, value) for name, value in spread.items()} | {"condition_gain_db": jnp.float32(-20.0)}
    return TimbreSpace(variables=variables, statistics=statistics, model=model, representation=representation)


@functools.cache
def measured_table() -> CodeTable:
    """Returns the code table of `code_space()`, which does not depend on the drag."""
    return code_table(code_space(), names=("centroid", "flatness"), batch_size=24)
