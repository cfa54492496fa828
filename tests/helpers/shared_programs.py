"""Compiled programs that the runs of tests share."""

from __future__ import annotations

import pytest

from timbre_jax.training import trainer
from timbre_jax.training.programs import Programs, program_key


@pytest.fixture(scope="session", autouse=True)
def shared_programs():
    """Compiles each training step once for all runs that compute the same, as a sweep does."""
    programs: dict = {}

    def shared(config, model, representation, placement, total_steps):
        key = program_key(config, model, representation, total_steps), type(placement)
        if key not in programs:
            programs[key] = Programs(config, model, representation, placement, total_steps)
        return programs[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "Programs", shared)
        yield
