"""Sounds and images inside a page, as data URIs."""

from __future__ import annotations

import base64
import io
import wave as wave_module

import numpy as np


def wav_bytes(samples: np.ndarray, sample_rate: int, *, seconds: float | None = None) -> bytes:
    """Encodes a mono sound as a 16-bit wav file.

    Args:
      samples: [T], clipped to [-1, 1].
      sample_rate: in Hz.
      seconds: length to cut to, with a fade of 20 ms; None: the whole sound.

    Raises:
      ValueError: more than one channel, or samples that are not finite.
    """
    samples = np.asarray(samples, np.float32)
    if samples.ndim != 1 or not np.isfinite(samples).all():
        raise ValueError(f"samples: must be one finite channel [T] (got {samples.shape})")
    if seconds is not None and len(samples) > round(seconds * sample_rate):
        samples = samples[: round(seconds * sample_rate)].copy()
        fade = min(len(samples), round(0.02 * sample_rate))
        samples[len(samples) - fade :] *= np.linspace(1.0, 0.0, fade, dtype=np.float32)
    buffer = io.BytesIO()
    with wave_module.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(np.round(np.clip(samples, -1.0, 1.0) * 32767.0).astype("<i2").tobytes())
    return buffer.getvalue()


def data_uri(data: bytes, kind: str) -> str:
    """Returns bytes as a data URI of a media type, such as "image/png"."""
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def wav_uri(samples: np.ndarray, sample_rate: int, *, seconds: float | None = None) -> str:
    """Returns a sound [T] as a data URI of a 16-bit wav file, cut to `seconds` with a fade."""
    return data_uri(wav_bytes(samples, sample_rate, seconds=seconds), "audio/wav")
