"""Representation of notes by f0 and harmonic amplitudes (Natsiou, O'Leary & Longo 2023)."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import ClassVar

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from timbre_jax.audio.harmonics import additive_synthesis, harmonic_amplitudes
from timbre_jax.audio.level import amplitude_to_db, db_to_amplitude, frame_level, rms
from timbre_jax.audio.pitch import masked_median, refine_f0, smooth_f0, yin
from timbre_jax.audio.stft import squared_magnitude, stft, window_samples
from timbre_jax.representations.base import Representation, fit_waves, length_mask
from timbre_jax.types import Array, Features


@flax.struct.dataclass
class Tracks:
    """Harmonic tracks of notes before normalization, with N frames and H harmonics.

    Attributes:
      f0: [B, N] smoothed f0 in Hz, held in unvoiced frames.
      amplitude_db: [B, N, H] amplitudes of the harmonics in dB.
      level_db: [B, N] RMS level of the frames in dB.
      aperiodicity: [B, N] aperiodicity of YIN, 0 (periodic) to 1 (noise).
      voiced: [B, N] bool, whether a frame is audible and periodic.
      raw_f0: [B, N] f0 in Hz before smoothing.
    """

    f0: Array
    amplitude_db: Array
    level_db: Array
    aperiodicity: Array
    voiced: Array
    raw_f0: Array


def _chunk_size() -> int:
    """Returns the number of notes to analyze in parallel.

    On a CPU, 64 notes take 6.3 ms each and four 3.0 ms, because their spectra fit into the cache.
    """
    return 4 if jax.default_backend() == "cpu" else 128


@dataclasses.dataclass(frozen=True)
class HarmonicTracks(Representation):
    """Representation by rows [f0, log A_1, ..., log A_H] over N frames, each scaled to [0, 1].

    Natsiou et al. 2023, section 3. f0 is estimated by YIN, refined by spectral peaks and smoothed to a change of at most 3 %
    per frame. Amplitudes are those of interpolated peaks near n * f0 in an STFT with a Blackman window. Synthesis is additive.
    Inharmonic components (breath, hammer, noise) and phases are lost.

    A frame is voiced if its level is above `floor_db` + 10 and at most `voiced_range_db` below the loudest frame, its f0 within
    `pitch_range` and its aperiodicity below `voiced_aperiodicity`. Other frames:

    - In attack noise, release and pauses, f0 holds the value of the neighbor toward the loudest part, and amplitudes are
      measured at multiples of the held f0. After note-off they fade to the floor, -100 dB.
    - A sound without voiced frames (noise) holds the f0 of its loudest frame. Silence has amplitudes at the floor and f0 at
      the lower end of `pitch_range`.
    - Harmonics at or above half the sample rate have amplitudes at the floor.

    `analyze` needs about 5 MB per note of 4 s and processes 4 notes at a time on a CPU, 128 on an accelerator.

    Attributes:
      sample_rate: sample rate in Hz.
      length: samples T to which sounds are cut or padded.
      n_harmonics: number of harmonics H; 0 for all below half the sample rate at the lowest f0 (100 at 16 kHz and 80 Hz).
      n_frames: number of frames N; 372 of the 373 centered frames, divisible by 4 for two strided layers.
      hop: hop of the STFT in samples.
      window_length: window of the STFT in samples.
      n_fft: FFT length of the STFT in samples.
      pitch_range: (low, high) f0 in Hz that YIN considers.
      f0_scale: "log" or "hz", the scale of f0 in the features.
      f0_range: f0 in Hz that maps to 0 and 1. Values outside are clipped.
      amplitude_range: dB that map to 0 and 1. config.representation.fit_ranges sets both ranges to the minimum and maximum of
        the training set. The paper scales by minimum and maximum and does not name the set.
      floor_db: lowest measured amplitude in dB.
      voiced_aperiodicity: largest aperiodicity of a voiced frame.
      voiced_range_db: range in dB below the loudest frame for voiced frames.
    """

    name: ClassVar[str] = "harmonic_tracks"
    is_harmonic: ClassVar[bool] = True

    sample_rate: int = 16000
    length: int = 64000
    n_harmonics: int = 7
    n_frames: int = 372
    hop: int = 172
    window_length: int = 690
    n_fft: int = 1024
    pitch_range: tuple[float, float] = (80.0, 2100.0)
    f0_scale: str = "log"
    f0_range: tuple[float, float] = (80.0, 2100.0)
    amplitude_range: tuple[float, float] = (-100.0, 0.0)
    floor_db: float = -100.0
    voiced_aperiodicity: float = 0.25
    voiced_range_db: float = 60.0

    def __post_init__(self):
        if self.f0_scale not in ("log", "hz"):
            raise ValueError(f"f0_scale: must be 'log' or 'hz' (got {self.f0_scale!r})")
        ranges = {"pitch_range": self.pitch_range, "f0_range": self.f0_range, "amplitude_range": self.amplitude_range}
        for field, (low, high) in ranges.items():
            object.__setattr__(self, field, (float(low), float(high)))
            if not low < high:
                raise ValueError(f"{field}: must be ascending (got ({low:g}, {high:g}))")
        if self.f0_range[0] <= 0 or self.pitch_range[0] <= 0:
            raise ValueError(f"f0_range, pitch_range: must be positive (got {self.f0_range}, {self.pitch_range})")
        if self.n_harmonics < 0:
            raise ValueError(f"n_harmonics: must be positive, or 0 for all (got {self.n_harmonics})")
        if not 1 <= self.n_frames <= 1 + self.length // self.hop:
            raise ValueError(
                f"n_frames: must be in 1..{1 + self.length // self.hop} for {self.length} samples and hop {self.hop} "
                f"(got {self.n_frames})"
            )

    @property
    def harmonics(self) -> int:
        """Number of harmonics H."""
        return self.n_harmonics or math.floor(0.5 * self.sample_rate / self.pitch_range[0])

    @property
    def feature_shape(self) -> tuple[int, int]:
        """(N, 1 + H), the shape of the features of a sound of standard length."""
        return self.n_frames, 1 + self.harmonics

    @property
    def frame_length(self) -> int:
        """Length of a frame in samples."""
        return self.n_fft

    @property
    def look_ahead(self) -> int:
        """Look-ahead of streaming analysis, in samples after the center of a frame."""
        return self.window_length // 2

    def with_length(self, samples: int) -> HarmonicTracks:
        """Returns the representation for sounds of another length, with all frames."""
        return dataclasses.replace(self, length=samples, n_frames=max(1, -(-samples // self.hop)))

    @functools.partial(jax.jit, static_argnums=0)
    def track(self, waves: Array) -> Tracks:
        """Computes the tracks of waves [B, T] in Hz and dB."""
        waves = fit_waves(waves, self.length)
        size = _chunk_size()
        if waves.shape[0] <= size:
            return self._track_chunk(waves)

        def track_one(wave):
            return jax.tree.map(lambda row: row[0], self._track_chunk(wave[None]))

        return jax.lax.map(track_one, waves, batch_size=size)

    def _track_chunk(self, waves: Array) -> Tracks:
        keep = slice(0, self.n_frames)
        spectra = stft(waves, n_fft=self.n_fft, hop=self.hop, window="blackman", window_length=self.window_length)
        power = squared_magnitude(spectra)[:, keep]
        low, high = self.pitch_range
        f0, aperiodicity = yin(waves, sample_rate=self.sample_rate, hop=self.hop, f_min=low, f_max=high)
        f0, aperiodicity = f0[:, keep], aperiodicity[:, keep]
        level = frame_level(waves, hop=self.hop, floor_db=self.floor_db - 20.0)[:, keep]
        loudest = jnp.max(level, axis=-1, keepdims=True)
        sounding = (level > loudest - self.voiced_range_db) & (level > self.floor_db + 10.0)
        reach = max(1, math.floor(3 * self.n_fft / self.window_length))  # half the main lobe of a Blackman window
        refined = refine_f0(power, f0, sample_rate=self.sample_rate, reach=reach)
        in_range = (refined > 0.97 * low) & (refined < 1.03 * high)
        voiced = sounding & in_range & (aperiodicity < self.voiced_aperiodicity)
        smooth = jnp.clip(smooth_f0(refined, voiced, level), low, high)
        smooth = jnp.where(loudest > self.floor_db, smooth, low)
        amplitude = harmonic_amplitudes(
            power,
            smooth,
            n_harmonics=self.harmonics,
            sample_rate=self.sample_rate,
            window_sum=float(np.sum(window_samples("blackman", self.window_length), dtype=np.float64)),
            floor_db=self.floor_db,
            reach=reach,
        )
        return Tracks(smooth, amplitude, level, aperiodicity, voiced, refined)

    @functools.partial(jax.jit, static_argnums=0)
    def analyze(self, waves: Array, lengths: Array | None = None) -> Features:
        """Computes values [B, N, 1 + H]; the mask is 1 for frames centered within `lengths`."""
        tracks = self.track(waves)
        values = self.normalize(tracks.f0, tracks.amplitude_db)
        return Features(values=values, mask=length_mask(values, self.hop, lengths), rate=self.rate)

    def normalize(self, f0: Array, amplitude_db: Array) -> Array:
        """Scales f0 and amplitudes to values [B, N, 1 + H], clipped to [0, 1].

        Args:
          f0: [B, N] in Hz.
          amplitude_db: [B, N, H] in dB.
        """
        low, high = self.f0_range
        if self.f0_scale == "log":
            pitch = jnp.log(jnp.maximum(f0, 1e-3) / low) / math.log(high / low)
        else:
            pitch = (f0 - low) / (high - low)
        quiet, loud = self.amplitude_range
        amplitude = (amplitude_db - quiet) / (loud - quiet)
        return jnp.clip(jnp.concatenate([pitch[..., None], amplitude], axis=-1), 0.0, 1.0)

    def denormalize(self, values: Array) -> tuple[Array, Array]:
        """Returns f0 [B, N] in Hz and amplitudes [B, N, H] in dB of values [B, N, 1 + H]."""
        values = jnp.clip(values, 0.0, 1.0)
        low, high = self.f0_range
        if self.f0_scale == "log":
            f0 = low * jnp.exp(values[..., 0] * math.log(high / low))
        else:
            f0 = low + values[..., 0] * (high - low)
        quiet, loud = self.amplitude_range
        return f0, quiet + values[..., 1:] * (loud - quiet)

    @functools.partial(jax.jit, static_argnums=0)
    def synthesize(self, features: Features, key: Array | None = None) -> Array:
        """Synthesizes waves [B, T] by additive synthesis with initial phases of 0.

        Amplitudes at the lower end of `amplitude_range` and frames outside the mask are silent. `key` is unused.
        """
        del key
        f0, amplitude_db = self.denormalize(features.values)
        amplitude = db_to_amplitude(amplitude_db, floor_db=self.amplitude_range[0]) * features.mask[..., None]
        return additive_synthesis(f0, amplitude, hop=self.hop, sample_rate=self.sample_rate, length=self.length)

    @functools.partial(jax.jit, static_argnums=0)
    def quality(self, waves: Array) -> dict[str, Array]:
        """Returns measures [B] of how suitable notes are for this representation.

        A frame is audible if it is above `floor_db` + 10 dB and at most 40 dB below the loudest frame.

        - "peak": largest absolute sample.
        - "level_db": RMS level of the whole wave.
        - "offset": mean sample (DC).
        - "audible": share of audible frames.
        - "harmonic": share of voiced frames among the audible ones; 0 for silence.
        - "aperiodicity": median over audible frames, 0 (periodic) to 1 (noise or silence).
        - "f0": median f0 in Hz of periodic audible frames, also above `pitch_range`; NaN if there are none.
        - "f0_spread": standard deviation in cents of the smoothed f0 of voiced frames (35 for a vibrato of +-50 cents).
        - "f0_jumps": share of voiced frames whose raw f0 is more than a semitone off the smoothed one.
        - "level_unsteadiness": mean distance in dB of the level from its running mean over a quarter second, including attack
          and note-off (below 1 for a steady or slowly fading note).
        """
        waves = fit_waves(waves, self.length)
        tracks = self.track(waves)
        loudest = jnp.max(tracks.level_db, axis=-1, keepdims=True)
        audible = (tracks.level_db > loudest - 40.0) & (tracks.level_db > self.floor_db + 10.0)
        voiced = audible & tracks.voiced
        audible_count, voiced_count = jnp.sum(audible, axis=-1), jnp.sum(voiced, axis=-1)

        def mean_over(x, frames, count):
            return jnp.sum(jnp.where(frames, x, 0.0), axis=-1) / jnp.maximum(count, 1)

        cents = 1200.0 * jnp.log2(tracks.f0)
        middle = mean_over(cents, voiced, voiced_count)
        spread = jnp.sqrt(mean_over(jnp.square(cents - middle[:, None]), voiced, voiced_count))
        jumps = jnp.abs(1200.0 * jnp.log2(tracks.raw_f0) - cents) > 100.0
        half = max(1, round(0.125 * self.rate))
        padded = jnp.pad(jnp.where(audible, tracks.level_db, 0.0), ((0, 0), (half, half)))
        counted = jnp.pad(audible.astype(jnp.float32), ((0, 0), (half, half)))
        sums, counts = (
            jax.lax.reduce_window(x, 0.0, jax.lax.add, (1, 2 * half + 1), (1, 1), "VALID") for x in (padded, counted)
        )
        unsteady = jnp.abs(tracks.level_db - sums / jnp.maximum(counts, 1.0))
        periodic = audible & (tracks.aperiodicity < self.voiced_aperiodicity)
        f0 = masked_median(tracks.raw_f0, periodic)
        aperiodicity = masked_median(tracks.aperiodicity, audible)
        return {
            "peak": jnp.max(jnp.abs(waves), axis=-1),
            "level_db": amplitude_to_db(rms(waves), floor_db=self.floor_db - 20.0),
            "offset": jnp.mean(waves, axis=-1),
            "audible": audible_count / audible.shape[-1],
            "harmonic": voiced_count / jnp.maximum(audible_count, 1),
            "aperiodicity": jnp.where(audible_count > 0, aperiodicity, 1.0),
            "f0": jnp.where(jnp.any(periodic, axis=-1), f0, jnp.nan),
            "f0_spread": spread,
            "f0_jumps": mean_over(jumps.astype(jnp.float32), voiced, voiced_count),
            "level_unsteadiness": mean_over(unsteady, audible, audible_count),
        }
