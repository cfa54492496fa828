"""Library that learns timbre spaces from sounds, explains them and generates sounds.

The stub `__init__.pyi` lists the public names and the modules that define them. Each module is imported when one of its names
is first used, so that `import timbre_jax` takes little time.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path

from timbre_jax.version import __version__ as __version__

_STUB = Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8")
_MODULES = {name: module for module, name in re.findall(r"^from (\S+) import \w+ as (\w+)$", _STUB, re.MULTILINE)}
"""Module that defines each public name."""
__all__ = sorted(_MODULES)


def __getattr__(name: str):
    if name not in _MODULES:
        raise AttributeError(f"module 'timbre_jax' has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
