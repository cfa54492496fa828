"""Harmonic tracks: a note as the course of its fundamental and of its harmonics' amplitudes (Natsiou et al. 2023)."""

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
from timbre_jax.audio.stft import stft, window_samples
from timbre_jax.representations.base import Representation, fit_waves, length_mask
from timbre_jax.types import Array, Features


@flax.struct.dataclass
class Tracks:
    """A note before normalization; N frames, H harmonics.

    Attributes:
      f0: [B, N] Hz, smooth, held where there is no pitch.
      amplitude_db: [B, N, H], 20 log10 of each harmonic's amplitude.
      level_db: [B, N] RMS of each frame.
      aperiodicity: [B, N] of YIN: 0 periodic, 1 noise.
      voiced: [B, N] bool: sounding and periodic, so that f0 was followed, not held.
      raw_f0: [B, N] Hz before smoothing.
    """

    f0: Array
    amplitude_db: Array
    level_db: Array
    aperiodicity: Array
    voiced: Array
    raw_f0: Array


def _notes_at_once() -> int:
    """How many notes to analyze side by side: as many as a CPU's cache holds, or enough to fill an accelerator.

    Measured on a CPU: 64 notes at once take 6.3 ms each, four at a time 3.0, since spectra then never leave the cache.
    """
    return 4 if jax.default_backend() == "cpu" else 128


@dataclasses.dataclass(frozen=True)
class HarmonicTracks(Representation):
    """Rows [f0, log A_1 .. log A_H] over N frames, each scaled to [0, 1]: Natsiou et al. 2023, section 3.

    f0 by YIN, sharpened by the spectral peaks, moving at most 3 % a frame; amplitudes by interpolated peak picking near
    n * f0 in an STFT (Blackman window); back to sound by additive synthesis. What is not harmonic (breath, hammer,
    noise) is lost on the way; so is phase.

    Frames that have no pitch:
      - A frame is *voiced* where it is at most `voiced_range_db` under the loudest frame, above `floor_db` + 10, its f0
        within `pitch_range` and its aperiodicity under `voiced_aperiodicity`. Elsewhere (attack noise, release, pauses)
        f0 is held from the nearest voiced frame on the side of the starting point, and the amplitudes are measured at
        the held f0's multiples.
      - After note-off, the harmonics fade to the floor, -100 dB, at the held f0.
      - A sound without a voiced frame (noise) holds the f0 of its loudest frame; silence has all amplitudes at the
        floor and f0 at the lower end of `pitch_range`.
      - Harmonics at or above half the sample rate are at the floor.

    Memory: `analyze` needs about 5 MB for each note under way (4 s at 16 kHz); it takes 4 at a time on a CPU and 128 on
    an accelerator, whatever the batch.

    Attributes:
      sample_rate: Hz.
      length: samples of a sound, T; other lengths are cut or padded with silence.
      n_harmonics: H; 0 takes all that fit under half the sample rate at the lowest f0 (100 at 16 kHz, 80 Hz).
      n_frames: N; 372 of the 373 centered frames, divisible by 4 for two strided layers.
      hop, window_length, n_fft: of the STFT, in samples.
      pitch_range: (low, high) Hz in which f0 is looked for.
      f0_scale: "log" or "hz", how f0 is scaled to [0, 1].
      f0_range: Hz that become 0 and 1. Values outside the ranges are clipped.
      amplitude_range: dB that become 0 and 1. Ranges are fixed by default; config.representation.fit_ranges sets
        them to the smallest and largest values of the training set, as the paper does.
      floor_db: the lowest amplitude that is told apart.
      voiced_aperiodicity, voiced_range_db: which frames have a pitch, see above.
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
            raise ValueError(f"f0_scale must be 'log' or 'hz', got {self.f0_scale!r}")
        ranges = {"pitch_range": self.pitch_range, "f0_range": self.f0_range, "amplitude_range": self.amplitude_range}
        for field, (low, high) in ranges.items():
            object.__setattr__(self, field, (float(low), float(high)))
            if not low < high:
                raise ValueError(f"{field} must rise, got ({low:g}, {high:g})")
        if self.f0_range[0] <= 0 or self.pitch_range[0] <= 0:
            raise ValueError(f"f0 must be above 0 Hz, got f0_range={self.f0_range}, pitch_range={self.pitch_range}")
        if self.n_harmonics < 0:
            raise ValueError(f"n_harmonics must be 0 (all) or more, got {self.n_harmonics}")
        if not 1 <= self.n_frames <= 1 + self.length // self.hop:
            raise ValueError(
                f"n_frames must lie in 1..{1 + self.length // self.hop} for {self.length} samples and hop {self.hop}, "
                f"got {self.n_frames}"
            )

    @property
    def harmonics(self) -> int:
        """H, with 0 resolved."""
        return self.n_harmonics or math.floor(0.5 * self.sample_rate / self.pitch_range[0])

    @property
    def feature_shape(self) -> tuple[int, int]:
        """(N, 1 + H)."""
        return self.n_frames, 1 + self.harmonics

    @property
    def frame_length(self) -> int:
        return self.n_fft

    @property
    def look_ahead(self) -> int:
        return self.window_length // 2

    def with_length(self, samples: int) -> HarmonicTracks:
        return dataclasses.replace(self, length=samples, n_frames=max(1, -(-samples // self.hop)))

    @functools.partial(jax.jit, static_argnums=0)
    def track(self, waves: Array) -> Tracks:
        """Waves [B, T] to `Tracks` in Hz and dB; a few notes at a time (`_notes_at_once`), whatever B is."""
        waves = fit_waves(waves, self.length)
        together = _notes_at_once()
        if waves.shape[0] <= together:
            return self._track_together(waves)

        def track_one(wave):
            return jax.tree.map(lambda row: row[0], self._track_together(wave[None]))

        return jax.lax.map(track_one, waves, batch_size=together)

    def _track_together(self, waves: Array) -> Tracks:
        keep = slice(0, self.n_frames)
        spectra = stft(waves, n_fft=self.n_fft, hop=self.hop, window="blackman", window_length=self.window_length)
        power = (jnp.square(spectra.real) + jnp.square(spectra.imag))[:, keep]
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
        """Waves [B, T] in [-1, 1] to values [B, N, 1 + H] in [0, 1].

        `lengths` [B] in samples where sounds are padded: the mask is 1 for frames centered within them, else 1
        everywhere.
        """
        tracks = self.track(waves)
        values = self.normalize(tracks.f0, tracks.amplitude_db)
        return Features(values=values, mask=length_mask(values, self.hop, lengths), rate=self.rate)

    def normalize(self, f0: Array, amplitude_db: Array) -> Array:
        """f0 [B, N] in Hz and amplitudes [B, N, H] in dB to values [B, N, 1 + H], clipped to [0, 1]."""
        low, high = self.f0_range
        if self.f0_scale == "log":
            pitch = jnp.log(jnp.maximum(f0, 1e-3) / low) / math.log(high / low)
        else:
            pitch = (f0 - low) / (high - low)
        quiet, loud = self.amplitude_range
        amplitude = (amplitude_db - quiet) / (loud - quiet)
        return jnp.clip(jnp.concatenate([pitch[..., None], amplitude], axis=-1), 0.0, 1.0)

    def denormalize(self, values: Array) -> tuple[Array, Array]:
        """Values [B, N, 1 + H] (clipped to [0, 1] first) to f0 [B, N] in Hz and amplitudes [B, N, H] in dB."""
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
        """Features to waves [B, T] by additive synthesis; frames outside the mask are silent. `key` is not used.

        Amplitudes at the lower end of `amplitude_range` are silence.
        """
        del key  # Nothing is drawn: phases start at 0.
        f0, amplitude_db = self.denormalize(features.values)
        amplitude = db_to_amplitude(amplitude_db, floor_db=self.amplitude_range[0]) * features.mask[..., None]
        return additive_synthesis(f0, amplitude, hop=self.hop, sample_rate=self.sample_rate, length=self.length)

    @functools.partial(jax.jit, static_argnums=0)
    def quality(self, waves: Array) -> dict[str, Array]:
        """What decides whether a note is fit for this representation, waves [B, T] -> numbers [B] by name.

        A frame is heard where it is at most 40 dB under the loudest one and above `floor_db` + 10 dB.

        - "peak": largest absolute sample. "level_db": RMS of the whole wave. "offset": mean sample (DC).
        - "heard": share of all frames that are heard.
        - "harmonic": share of the heard frames that are voiced; 0 for silence.
        - "aperiodicity": median of YIN's over the heard frames; 0 periodic, 1 noise or silence.
        - "f0": median over the periodic heard frames in Hz, also where it lies above `pitch_range` (such frames are not
          voiced); NaN where there is none. A note under the range is not periodic in any lag looked at.
        - "f0_spread": standard deviation of their smoothed f0 in cents (vibrato of +-50 cents: 35).
        - "f0_jumps": share of them whose own estimate is more than a semitone off the smoothed line: it changes
          abruptly.
        - "level_unsteadiness": mean distance in dB of the heard frames' level from its running mean over a quarter
          second (a steady or slowly fading note: under 1; attack and note-off included).
        """
        waves = fit_waves(waves, self.length)
        tracks = self.track(waves)
        loudest = jnp.max(tracks.level_db, axis=-1, keepdims=True)
        heard = (tracks.level_db > loudest - 40.0) & (tracks.level_db > self.floor_db + 10.0)
        voiced = heard & tracks.voiced
        heard_count, voiced_count = jnp.sum(heard, axis=-1), jnp.sum(voiced, axis=-1)

        def mean_over(x, frames, count):
            return jnp.sum(jnp.where(frames, x, 0.0), axis=-1) / jnp.maximum(count, 1)

        cents = 1200.0 * jnp.log2(tracks.f0)
        middle = mean_over(cents, voiced, voiced_count)
        spread = jnp.sqrt(mean_over(jnp.square(cents - middle[:, None]), voiced, voiced_count))
        jumps = jnp.abs(1200.0 * jnp.log2(tracks.raw_f0) - cents) > 100.0
        half = max(1, round(0.125 * self.rate))
        padded = jnp.pad(jnp.where(heard, tracks.level_db, 0.0), ((0, 0), (half, half)))
        counted = jnp.pad(heard.astype(jnp.float32), ((0, 0), (half, half)))
        sums, counts = (
            jax.lax.reduce_window(x, 0.0, jax.lax.add, (1, 2 * half + 1), (1, 1), "VALID") for x in (padded, counted)
        )
        unsteady = jnp.abs(tracks.level_db - sums / jnp.maximum(counts, 1.0))
        periodic = heard & (tracks.aperiodicity < self.voiced_aperiodicity)
        f0 = masked_median(tracks.raw_f0, periodic)
        aperiodicity = masked_median(tracks.aperiodicity, heard)
        return {
            "peak": jnp.max(jnp.abs(waves), axis=-1),
            "level_db": amplitude_to_db(rms(waves), floor_db=self.floor_db - 20.0),
            "offset": jnp.mean(waves, axis=-1),
            "heard": heard_count / heard.shape[-1],
            "harmonic": voiced_count / jnp.maximum(heard_count, 1),
            "aperiodicity": jnp.where(heard_count > 0, aperiodicity, 1.0),
            "f0": jnp.where(jnp.any(periodic, axis=-1), f0, jnp.nan),
            "f0_spread": spread,
            "f0_jumps": mean_over(jumps.astype(jnp.float32), voiced, voiced_count),
            "level_unsteadiness": mean_over(unsteady, heard, heard_count),
        }
