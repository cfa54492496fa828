"""Log-mel spectrograms with exchangeable inverters (Rebnord 2022, Caillon et al. 2020)."""

from __future__ import annotations

import dataclasses
import functools
import math
from types import MappingProxyType
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from timbre_jax.audio.descriptors import DESCRIPTORS, describe, yin_reach
from timbre_jax.audio.level import frame_level, safe_sqrt
from timbre_jax.audio.mel import MEL_SCALES, mel_filterbank, mel_to_stft_nnls
from timbre_jax.audio.phase import INVERTERS, invert
from timbre_jax.audio.stft import COSINE_WINDOWS, squared_magnitude, stft, window_samples
from timbre_jax.representations.base import Representation, fit_waves, length_mask
from timbre_jax.types import Array, Features

LEVEL_FLOOR_DB = -120.0
"""Level in dB of the loudest band below which a sound counts as silence."""
DEFAULT_LEVEL_DB = -20.0
"""Level in dB of features without one, about that of a drum hit with a peak of 0.5."""
_DB = 10.0 / math.log(10.0)
"""dB per unit of the natural logarithm of power."""


@dataclasses.dataclass(frozen=True)
class LogMel(Representation):
    """Representation by mel bands in dB over N frames, scaled to [0, 1].

    The log-mel spectrogram of Rebnord 2022 (sections 7.1.1 and 7.2.1). Mel power is that of a centered STFT and a filterbank of
    unit area. With reference="file", it is relative to the loudest value of the sound, and -range_db..0 dB map to 0..1, as in
    SampleVAE's code (maxfrenzel/SampleVAE, features.py at 963cdd7; the thesis does not mention it). conditions["level_db"] [B]
    contains the level, which `synthesize` restores. 0 dB is the maximum for a sine of amplitude 1, which is
    `librosa.power_to_db(melspectrogram)` minus `full_scale_db`.

    Frame n is centered on sample n * hop. A centered STFT of 32,000 samples with hop 128 has 251 frames; the last one, centered
    behind the end, is left out, so that N = ceil(length / hop) = 250 as in the thesis.

    Synthesis estimates spectral power from mel power by non-negative least squares with the same filterbank, and phases by the
    `inverter`. Values of 0 and bins outside the filters (DC and above `fmax`) are silent. A missing level is
    `DEFAULT_LEVEL_DB`.

    Attributes:
      sample_rate: sample rate in Hz.
      length: samples T to which `analyze` cuts or pads sounds.
      n_fft: FFT length in samples, even.
      window_length: window in samples.
      hop: hop in samples.
      window: one of `audio.stft.COSINE_WINDOWS`.
      n_mels: number of mel bands F.
      fmin: lowest frequency in Hz.
      fmax: highest frequency in Hz; 0 for half the sample rate.
      scale: mel scale, "slaney" or "htk".
      n_frames: number of frames N; 0 for ceil(length / hop).
      range_db: range of the values in dB.
      reference: 0 dB of the values: "file" for the maximum of the sound, or "fixed" for full scale, so that the values contain
        the level and there is no "level_db".
      inverter: one of `audio.phase.INVERTERS`.
      iterations: iterations of the inverter.
      hold: what an iterative inverter preserves: "bands" for the mel power, which leaves the spectrum within bands free, or
        "magnitudes" for those of the mel inversion, as is common.
      nnls_iterations: iterations of the mel inversion.
      texture_db: standard deviation in dB of noise that `synthesize` adds to positive values. The spectrogram of noise varies
        by 5 dB; a model decodes its smooth mean, which sounds tonal and blurred. 1 dB removes most of this; use 0 for recorded
        features.
      loudness: whether to add conditions["loudness"] [B, N], the RMS level of the samples under the window in dB (0 dB for a
        constant of 1, at least -100).
      measured: further curves [B, N] to add to the conditions, names of `audio.descriptors.DESCRIPTORS` ("centroid", "f0", ...)
        except loudness.
    """

    name: ClassVar[str] = "log_mel"
    is_mel: ClassVar[bool] = True
    synthesis_fields: ClassVar[tuple[str, ...]] = ("inverter", "iterations", "hold", "nnls_iterations", "texture_db")
    optional_since: ClassVar[tuple[str, ...]] = ("loudness", "measured")

    sample_rate: int = 16000
    length: int = 32000
    n_fft: int = 512
    window_length: int = 512
    hop: int = 128
    window: str = "hann"
    n_mels: int = 128
    fmin: float = 0.0
    fmax: float = 0.0
    scale: str = "slaney"
    n_frames: int = 250
    range_db: float = 80.0
    reference: str = "file"
    inverter: str = "pghi_fast_griffin_lim"
    iterations: int = 100
    hold: str = "bands"
    nnls_iterations: int = 50
    texture_db: float = 0.0
    loudness: bool = False
    measured: tuple[str, ...] = ()

    def __post_init__(self):
        curves = tuple(name for name in DESCRIPTORS if name != "loudness")
        if wrong := [name for name in self.measured if name not in curves]:
            raise ValueError(f"measured: must be names of curves (got {wrong[0]!r}, expected one of {', '.join(curves)})")
        for setting, value, names in (
            ("scale", self.scale, MEL_SCALES),
            ("window", self.window, COSINE_WINDOWS),
            ("reference", self.reference, ("file", "fixed")),
            ("hold", self.hold, ("bands", "magnitudes")),
            ("inverter", self.inverter, INVERTERS),
        ):
            if value not in names:
                raise ValueError(f"{setting}: unknown name (got {value!r}, expected one of {', '.join(names)})")
        if not (self.length >= 1 and self.hop >= 1 and self.range_db > 0 and min(self.iterations, self.texture_db) >= 0):
            raise ValueError(
                "length, hop, range_db: must be positive, and iterations, texture_db not negative (got "
                f"{self.length}, {self.hop}, {self.range_db:g}, and {self.iterations}, {self.texture_db:g})"
            )
        if self.n_fft % 2 or not self.hop <= self.window_length <= self.n_fft:
            raise ValueError(
                f"n_fft: must be even, with hop <= window_length <= n_fft (got n_fft={self.n_fft}, "
                f"window_length={self.window_length}, hop={self.hop})"
            )
        whole = -(-self.length // self.hop)
        if not 0 <= self.n_frames <= whole:
            raise ValueError(
                f"n_frames: must be in 1..{whole} for {self.length} samples and hop {self.hop}, or 0 for all "
                f"(got {self.n_frames})"
            )
        self.basis  # noqa: B018 - checks the bands and warns of empty ones

    @property
    def frames(self) -> int:
        """Number of frames N."""
        return self.n_frames or -(-self.length // self.hop)

    @property
    def feature_shape(self) -> tuple[int, int]:
        """(N, F), the shape of the features of a sound of standard length."""
        return self.frames, self.n_mels

    @property
    def frame_length(self) -> int:
        """Length of a frame in samples."""
        return self.n_fft

    @property
    def reach(self) -> int | None:
        """Samples on each side of its center on which a frame depends; None for all."""
        if self.reference != "fixed":
            return None
        pitched = bool({"f0", "harmonicity"} & set(self.measured))
        return max(self.n_fft // 2, yin_reach(self.sample_rate, self.hop) if pitched else 0)

    @property
    def look_ahead(self) -> int:
        """Look-ahead of streaming analysis, in samples after the center of a frame."""
        return self.window_length // 2

    @property
    def synthesis_iterations(self) -> dict[str, int]:
        """Settings that trade quality for speed of `synthesize`."""
        return {"iterations": self.iterations, "nnls_iterations": self.nnls_iterations}

    def with_length(self, samples: int) -> LogMel:
        """Returns the representation for sounds of another length, with all frames."""
        return dataclasses.replace(self, length=samples, n_frames=0)

    @property
    def bands(self) -> dict:
        """Settings of the filterbank for `audio.mel`."""
        return dict(sample_rate=self.sample_rate, n_fft=self.n_fft, fmin=self.fmin, fmax=self.fmax, scale=self.scale)

    @property
    def basis(self) -> np.ndarray:
        """Mel filterbank of analysis and synthesis, [F, n_fft // 2 + 1]."""
        return mel_filterbank(**self.bands, n_mels=self.n_mels)

    @property
    def band_bins(self) -> tuple[float, ...]:
        """Number of STFT bins that each band covers, [F], at least 0.1.

        Every bin is shared among the bands in proportion to their filters.
        """
        basis = np.asarray(self.basis, np.float64)
        shares = basis / np.maximum(basis.sum(0), 1e-30)
        return tuple(np.maximum(shares.sum(1), 0.1).tolist())

    @property
    def band_hz(self) -> tuple[float, ...]:
        """Center frequency of each band in Hz, [F], the mean frequency of its filter."""
        basis = np.asarray(self.basis, np.float64)
        frequencies = np.arange(basis.shape[1]) * (self.sample_rate / self.n_fft)
        return tuple((basis @ frequencies / np.maximum(basis.sum(1), 1e-30)).tolist())

    @property
    def full_scale_db(self) -> float:
        """Mel power in dB, by librosa, of a sine of amplitude 1 on the most sensitive bin."""
        gain = float(np.sum(window_samples(self.window, self.window_length), dtype=np.float64)) / 2.0
        return 10.0 * math.log10(gain**2 * float(self.basis.max()))

    @functools.partial(jax.jit, static_argnums=0)
    def mel_power(self, waves: Array) -> Array:
        """Computes the mel power [B, N, F] of waves [B, T], 1 for full scale."""
        waves = fit_waves(waves, self.length)
        spectra = stft(waves, n_fft=self.n_fft, hop=self.hop, window=self.window, window_length=self.window_length)
        spectra = spectra[:, : self.frames]
        power = squared_magnitude(spectra)
        bands = jnp.asarray(self.basis.T * np.float32(10.0 ** (-self.full_scale_db / 10.0)))
        return jnp.matmul(power, bands, precision="highest")

    @functools.partial(jax.jit, static_argnums=0)
    def frame_loudness(self, waves: Array) -> Array:
        """Computes the level [B, N] of waves in dB, over the window rounded to 2 hops."""
        window_hops = 2 * max(1, round(0.5 * self.window_length / self.hop))
        return frame_level(fit_waves(waves, self.length), hop=self.hop, window_hops=window_hops)[:, : self.frames]

    @functools.partial(jax.jit, static_argnums=0)
    def analyze(self, waves: Array, lengths: Array | None = None) -> Features:
        """Computes values [B, N, F] in [0, 1] with conditions such as "level_db" and "loudness".

        The mask is 1 for frames centered within `lengths`. Silence has values of 0 and a level of `LEVEL_FLOOR_DB`.
        """
        mel = self.mel_power(waves)
        floor = 10.0 ** (LEVEL_FLOOR_DB / 10.0)
        mask = length_mask(mel, self.hop, lengths)
        conditions = {}
        if self.reference == "file":
            loudest = jnp.maximum(jnp.max(mel, axis=(1, 2)), floor)
            conditions = {"level_db": jnp.log(loudest) * _DB}
            mel = mel / loudest[:, None, None]
        if self.loudness:
            conditions["loudness"] = self.frame_loudness(waves)
        whole = fit_waves(waves, self.length)
        for name in self.measured:
            curve = describe(whole, name=name, sample_rate=self.sample_rate, n_fft=self.n_fft, hop=self.hop)
            conditions[name] = curve[:, : self.frames]
        smallest = 10.0 ** (-self.range_db / 10.0)
        values = 1.0 + jnp.log(jnp.maximum(mel, smallest)) * (_DB / self.range_db)
        values = jnp.clip(jnp.where(mel > smallest, values, 0.0), 0.0, 1.0)
        return Features(values=values, mask=mask, conditions=conditions, rate=self.rate)

    @functools.partial(jax.jit, static_argnums=0)
    def features_to_mel(self, features: Features) -> Array:
        """Inverts `analyze` to mel power [B, N, F] in librosa's units, 0 outside the mask."""
        values = jnp.clip(features.values, 0.0, 1.0)
        db = (values - 1.0) * self.range_db + self.full_scale_db
        if self.reference == "file":
            level = features.conditions.get("level_db", DEFAULT_LEVEL_DB)
            db = db + jnp.broadcast_to(jnp.asarray(level, jnp.float32), values.shape[:1])[:, None, None]
        mel = jnp.where(values > 0.0, jnp.exp(db / _DB), 0.0)
        return mel if features.mask is None else mel * features.mask[..., None]

    @functools.partial(jax.jit, static_argnums=0)
    def magnitudes(self, features: Features) -> Array:
        """Estimates STFT magnitudes [B, N, n_fft // 2 + 1] of features, 0 outside the mask."""
        mel = self.features_to_mel(features)
        return safe_sqrt(mel_to_stft_nnls(mel, **self.bands, iterations=self.nnls_iterations))

    def add_texture(self, features: Features, key: Array | None = None) -> Features:
        """Adds noise of `texture_db` to the positive values of features.

        Args:
          features: features to synthesize.
          key: one key per sound [B] or one for all; None for a fixed key and equal noise in all sounds.
        """
        if self.texture_db == 0.0:
            return features
        values = features.values
        shape = values.shape[1:]
        if key is None:
            noise = jax.random.normal(jax.random.key(0), (1, *shape), jnp.float32)
        else:
            keys = jax.random.split(key, len(values)) if key.ndim == 0 else key
            noise = jax.vmap(lambda k: jax.random.normal(jax.random.fold_in(k, 1), shape, jnp.float32))(keys)
        noisy = jnp.clip(values + noise * (self.texture_db / self.range_db), 1e-6, 1.0)
        return features.replace(values=jnp.where(values > 0.0, noisy, values))

    @functools.partial(jax.jit, static_argnums=0)
    def synthesize(self, features: Features, key: Array | None = None, known: Array | None = None) -> Array:
        """Synthesizes waves [B, T]; values of 0 and frames outside the mask are silent.

        T is `length` for features of `feature_shape`, else the number of frames times `hop`. Gradients are useful with
        iterations=0 only, because the phases of nearly silent bins, and all iterations from there, are unstable.

        Args:
          features: features with an optional "level_db".
          key: key of the texture and of random initial phases, one per sound [B] or one for all; None for fixed ones.
          known: [B, P, K] spectra of the first P frames to keep, see `audio.phase`.
        """
        count = features.values.shape[1]
        features = self.add_texture(features, key)
        constraints = {} if known is None else {"known": known}
        if self.hold == "bands":
            constraints |= {"bands": self.features_to_mel(features), "filters": self.basis}
        return invert(
            self.inverter,
            self.magnitudes(features),
            hop=self.hop,
            length=self.length if count == self.frames else count * self.hop,
            window=self.window,
            window_length=self.window_length,
            iterations=self.iterations,
            key=key,
            **constraints,
        )


LOG_MEL_PRESETS = MappingProxyType(
    {
        "rebnord2022": LogMel(),
        "samplevae": LogMel(n_fft=1024, window_length=1024, hop=256, n_frames=125),
        "caillon2020": LogMel(
            sample_rate=24000,
            length=96000,
            n_fft=2048,
            window_length=2048,
            hop=256,
            fmin=80.0,
            n_frames=0,
            range_db=100.0,
            reference="fixed",
            loudness=True,
        ),
    }
)
"""Log-mel of Rebnord 2022 (2 s at 16 kHz, 250 x 128), SampleVAE (125 x 128) and Caillon et al. 2020.

SampleVAE's code analyzes and inverts with filterbanks of different sample rates; here both are the same. The third preset
follows the public code of Caillon et al. (acids-ircam/wavae at f73cf0a): 24 kHz, 93.75 frames per second, values that contain
the level, with the loudness of each frame. wavae uses a window of 512 samples in an FFT of 2048 and (log10(magnitude) + 5) / 5
with a floor of 1e-5, which is the same range of 100 dB with another reference.
"""
