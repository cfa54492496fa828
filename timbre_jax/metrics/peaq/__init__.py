"""PEAQ Basic (ITU-R BS.1387): objective difference grades of sounds."""

from timbre_jax.metrics.peaq.basic import (
    PEAQ_PRESETS,
    PeaqResult,
    PeaqSettings,
    distortion_index,
    grade,
    peaq_basic,
    peaq_definition,
)

__all__ = ["PEAQ_PRESETS", "PeaqResult", "PeaqSettings", "distortion_index", "grade", "peaq_basic", "peaq_definition"]
