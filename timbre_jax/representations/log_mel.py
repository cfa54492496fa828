"""Log-mel spectrograms: any sound, at any rate, and back to sound by an exchangeable inverter."""

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
from timbre_jax.audio.level import frame_level, root
from timbre_jax.audio.mel import MEL_SCALES, mel_filterbank, mel_to_stft_nnls
from timbre_jax.audio.phase import INVERTERS, invert
from timbre_jax.audio.stft import COSINE_WINDOWS, stft, window_samples
from timbre_jax.representations.base import Representation, fit_waves, length_mask
from timbre_jax.types import Array, Features

LEVEL_FLOOR_DB = -120.0
"""Sounds whose loudest band lies lower are silence."""
DEFAULT_LEVEL_DB = -20.0
"""Level of a sound that says none: about that of a drum hit with a peak of 0.5."""
_DB = 10.0 / math.log(10.0)


@dataclasses.dataclass(frozen=True)
class LogMel(Representation):
    """Mel bands in dB over N frames, scaled to [0, 1]: Rebnord 2022, section 5.2; SampleVAE (Frenzel 2019).

    Power spectra (centered STFT) through a mel filterbank of unit area, 10 log10, relative to the sound's own loudest
    value, `-range_db`..0 dB become 0..1. The level set aside so is kept in `conditions["level_db"]` [B] and given back by
    `synthesize`. 0 dB is the loudest that a sine of amplitude 1 can be: `librosa.power_to_db(melspectrogram)` less
    `full_scale_db`.

    Frames: frame n is centered on sample n * hop. A centered transform of 32,000 samples with hop 128 has 251 frames; the
    last is centered on the first sample after the end and left out, so N = ceil(length / hop) = 250 as in the thesis.

    Back to sound: values of 0 are silence; non-negative least squares from mel power to spectral power with the same
    filterbank, then the `inverter`. Without a level in the conditions, `DEFAULT_LEVEL_DB`. Bins outside the filters (DC;
    all above `fmax`) stay silent.

    Attributes:
      sample_rate: Hz.
      length: samples of a sound, T; others are cut or padded with silence by `analyze`.
      n_fft, window_length, hop: of the STFT, in samples. window: a name of `audio.stft.COSINE_WINDOWS`.
      n_mels: F. fmin, fmax: Hz; fmax 0 is half the sample rate. scale: "slaney" or "htk".
      n_frames: N; 0 takes ceil(length / hop).
      range_db: how far under 0 dB values reach.
      reference: what 0 dB is: "file", the sound's own loudest value, or "fixed", full scale (no conditions then: level is
        in the values).
      inverter: a name of `audio.phase.INVERTERS`. iterations: of the inverter.
      hold: what an iterating inverter holds on to: "bands", the mel power, so that spectra find their shape within the
        bands; or "magnitudes", those of the mel inversion, as is usual.
      nnls_iterations: of the mel inversion.
      texture_db: deviation of noise that `synthesize` adds to every value that sounds. The spectrogram of noise is rough by
        5 dB; a model gives back its mean, which is smooth, and sounds of smooth spectrograms are tonal and blurred. 1 dB
        takes most of that; 0 for features that are rough by themselves, such as recorded ones.
      loudness: put `conditions["loudness"]` [B, N] beside the values: the level of every frame in dB (RMS of the samples
        under its window, a constant 1 is 0 dB, at least -100).
      measured: further curves put beside the values, [B, N] each: names of `audio.descriptors.DESCRIPTORS` ("centroid",
        "f0", ...; `loudness` has its own switch), over the STFT's length and hop.
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
            raise ValueError(f"measured takes curves that are not loudness, {', '.join(curves)}; not {wrong[0]!r}")
        for setting, value, names in (
            ("scale", self.scale, MEL_SCALES),
            ("window", self.window, COSINE_WINDOWS),
            ("reference", self.reference, ("file", "fixed")),
            ("hold", self.hold, ("bands", "magnitudes")),
            ("inverter", self.inverter, INVERTERS),
        ):
            if value not in names:
                raise ValueError(f"{setting} must be one of {', '.join(names)}, got {value!r}")
        if not (self.length >= 1 and self.hop >= 1 and self.range_db > 0 and min(self.iterations, self.texture_db) >= 0):
            raise ValueError(
                "length, hop and range_db must be above 0, iterations and texture_db not below, got "
                f"{self.length}, {self.hop}, {self.range_db:g}, {self.iterations} and {self.texture_db:g}"
            )
        if self.n_fft % 2 or not self.hop <= self.window_length <= self.n_fft:
            raise ValueError(
                f"n_fft must be even and hop <= window_length <= n_fft must hold, got n_fft={self.n_fft}, "
                f"window_length={self.window_length}, hop={self.hop}"
            )
        whole = -(-self.length // self.hop)
        if not 0 <= self.n_frames <= whole:
            raise ValueError(
                f"n_frames must lie in 0..{whole} for {self.length} samples and hop {self.hop}, got {self.n_frames} "
                "(0: as many as the length has)"
            )
        self.basis  # noqa: B018 - says now what is wrong with the bands, and warns of empty ones

    @property
    def frames(self) -> int:
        """N, with 0 resolved."""
        return self.n_frames or -(-self.length // self.hop)

    @property
    def feature_shape(self) -> tuple[int, int]:
        """(N, F)."""
        return self.frames, self.n_mels

    @property
    def frame_length(self) -> int:
        return self.n_fft

    @property
    def reach(self) -> int | None:
        if self.reference != "fixed":
            return None
        pitched = bool({"f0", "harmonicity"} & set(self.measured))
        return max(self.n_fft // 2, yin_reach(self.sample_rate, self.hop) if pitched else 0)

    @property
    def look_ahead(self) -> int:
        return self.window_length // 2

    @property
    def synthesis_iterations(self) -> dict[str, int]:
        return {"iterations": self.iterations, "nnls_iterations": self.nnls_iterations}

    def with_length(self, samples: int) -> LogMel:
        return dataclasses.replace(self, length=samples, n_frames=0)

    @property
    def bands(self) -> dict:
        """The settings of the filterbank, as `audio.mel` takes them."""
        return dict(sample_rate=self.sample_rate, n_fft=self.n_fft, fmin=self.fmin, fmax=self.fmax, scale=self.scale)

    @property
    def basis(self) -> np.ndarray:
        """The filterbank of both ways, [F, n_fft // 2 + 1]."""
        return mel_filterbank(**self.bands, n_mels=self.n_mels)

    @property
    def band_bins(self) -> tuple[float, ...]:
        """How many bins of the spectrum each band stands for, [F]: every bin shared among the bands as they weigh it.

        A band between two bins stands for a part of one; so that none counts for nothing, for at least a tenth of a bin.
        """
        basis = np.asarray(self.basis, np.float64)
        shares = basis / np.maximum(basis.sum(0), 1e-30)
        return tuple(np.maximum(shares.sum(1), 0.1).tolist())

    @property
    def band_hz(self) -> tuple[float, ...]:
        """Where each band lies, [F]: the mean frequency of its filter in Hz."""
        basis = np.asarray(self.basis, np.float64)
        frequencies = np.arange(basis.shape[1]) * (self.sample_rate / self.n_fft)
        return tuple((basis @ frequencies / np.maximum(basis.sum(1), 1e-30)).tolist())

    @property
    def full_scale_db(self) -> float:
        """Mel power of a sine of amplitude 1 on the most sensitive bin, in dB as librosa counts it."""
        gain = float(np.sum(window_samples(self.window, self.window_length), dtype=np.float64)) / 2.0
        return 10.0 * math.log10(gain**2 * float(self.basis.max()))

    @functools.partial(jax.jit, static_argnums=0)
    def mel_power(self, waves: Array) -> Array:
        """Waves [B, T] to mel power [B, N, F] in units of full scale (1 is 0 dB)."""
        waves = fit_waves(waves, self.length)
        spectra = stft(waves, n_fft=self.n_fft, hop=self.hop, window=self.window, window_length=self.window_length)
        spectra = spectra[:, : self.frames]
        power = jnp.square(spectra.real) + jnp.square(spectra.imag)
        bands = jnp.asarray(self.basis.T * np.float32(10.0 ** (-self.full_scale_db / 10.0)))
        return jnp.matmul(power, bands, precision="highest")

    @functools.partial(jax.jit, static_argnums=0)
    def frame_loudness(self, waves: Array) -> Array:
        """Waves [B, T] to the level of every frame in dB, [B, N], over as many samples as the STFT's window has (made an even
        number of hops)."""
        window_hops = 2 * max(1, round(0.5 * self.window_length / self.hop))
        return frame_level(fit_waves(waves, self.length), hop=self.hop, window_hops=window_hops)[:, : self.frames]

    @functools.partial(jax.jit, static_argnums=0)
    def analyze(self, waves: Array, lengths: Array | None = None) -> Features:
        """Waves [B, T] in [-1, 1] to values [B, N, F] in [0, 1], with `level_db` [B] (and `loudness` [B, N]) beside them.

        `lengths` [B] in samples where sounds are padded: the mask is 1 for frames centered within them, else 1
        everywhere. Silence has values of 0 and a level of `LEVEL_FLOOR_DB`.
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
        """Features to mel power [B, N, F], counted as librosa does; 0 outside the mask. The inverse of `analyze`."""
        values = jnp.clip(features.values, 0.0, 1.0)
        db = (values - 1.0) * self.range_db + self.full_scale_db
        if self.reference == "file":
            level = features.conditions.get("level_db", DEFAULT_LEVEL_DB)
            db = db + jnp.broadcast_to(jnp.asarray(level, jnp.float32), values.shape[:1])[:, None, None]
        mel = jnp.where(values > 0.0, jnp.exp(db / _DB), 0.0)
        return mel if features.mask is None else mel * features.mask[..., None]

    @functools.partial(jax.jit, static_argnums=0)
    def magnitudes(self, features: Features) -> Array:
        """Features to spectral magnitudes [B, N, n_fft // 2 + 1] as of `audio.stft.stft`; 0 outside the mask."""
        mel = self.features_to_mel(features)
        return root(mel_to_stft_nnls(mel, **self.bands, iterations=self.nnls_iterations))

    def textured(self, features: Features, key: Array | None = None) -> Features:
        """The features with `texture_db` of noise on all values that sound: what `synthesize` begins with.

        `key` as there; without it, it is the same noise for every sound.
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
        rough = jnp.clip(values + noise * (self.texture_db / self.range_db), 1e-6, 1.0)
        return features.replace(values=jnp.where(values > 0.0, rough, values))

    @functools.partial(jax.jit, static_argnums=0)
    def synthesize(self, features: Features, key: Array | None = None, known: Array | None = None) -> Array:
        """Features to waves [B, T]; values of 0 and frames outside the mask are silent.

        T is `length` where there are as many frames as `feature_shape` says, else frames * hop. `key` (one, or [B]) draws
        the texture, and the first phases of inverters that begin at random; without it they are fixed, and the same features
        give the same sound. Its gradient is of use with `iterations` 0 only: the phase of a bin that is nearly silent turns at
        the least touch, and what is iterated from there with it. `known`: spectra [B, P, K] of the first frames, which stay
        as they are (`audio.phase`).
        """
        count = features.values.shape[1]
        features = self.textured(features, key)
        held = {} if known is None else {"known": known}
        if self.hold == "bands":
            held |= {"bands": self.features_to_mel(features), "filters": self.basis}
        return invert(
            self.inverter,
            self.magnitudes(features),
            hop=self.hop,
            length=self.length if count == self.frames else count * self.hop,
            window=self.window,
            window_length=self.window_length,
            iterations=self.iterations,
            key=key,
            **held,
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
"""The thesis' log-mel (2 s at 16 kHz, 250 x 128) and SampleVAE's (125 x 128), both with one basis for both ways; and that of
Caillon et al. 2020: 24 kHz, 93.75 frames a second, level in the values, with every frame's loudness beside them. Theirs is
(log10(magnitude) + 5) / 5 of a magnitude floored at 1e-5: the same 100 dB, up to where 0 dB is."""
