"""`import timbre_jax`: fast, lists its names, and each of them is there and documented."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

import timbre_jax
from tests.helpers.processes import run


def test_names_are_listed():
    names = [name for name in dir(timbre_jax) if not name.startswith("_")]
    assert 35 <= len(names) <= 50
    assert set(names) < set(timbre_jax.__all__)
    assert Path(timbre_jax.__file__).with_name("py.typed").is_file()
    with pytest.raises(AttributeError, match="module 'timbre_jax' has no attribute 'nothing'"):
        _ = timbre_jax.nothing


@pytest.mark.parametrize("name", timbre_jax.__all__)
def test_every_name_is_there_and_documented(name):
    value = getattr(timbre_jax, name)
    assert name == "__version__" or inspect.getdoc(value)


def test_importing_it_imports_nothing_heavy():
    heavy = ("jax", "numpy", "flax", "orbax", "librosa", "absl", "tensorflow_datasets")
    done = run("-c", f"import sys, timbre_jax; dir(timbre_jax); print([m for m in {heavy} if m in sys.modules])")
    assert done.stdout.strip() == "[]", done.stderr
