"""Invariance of a trained series space to loudness and pitch, measured once for each best space of a run."""

from __future__ import annotations

import os

from timbre_jax.analysis.leakage import invariance_lines, invariance_of, write_invariance
from timbre_jax.checkpoint import load
from timbre_jax.data.store import open_store
from timbre_jax.documents import read_config


def measure_run_invariance(workdir: str | os.PathLike, *, progress: bool = True) -> list[str]:
    """Measures how much loudness and pitch a probe reads from the latents of a run, and writes WORKDIR/invariance.json.

    A file that is newer than the run's best space is left as it is.

    Args:
      workdir: folder of the run.
      progress: whether to show a bar with the time left.

    Returns:
      Lines to print; none for a space that is not a series space.
    """
    space = load(workdir)
    if space.kind != "series":
        return []
    file = os.path.join(workdir, "invariance.json")
    best = max(os.path.getmtime(entry) for entry in os.scandir(os.path.join(workdir, "best")))
    if os.path.isfile(file) and os.path.getmtime(file) >= best:
        return [f"Invariance of the latents to loudness and pitch: see {file}."]
    try:
        results = invariance_of(space, open_store(read_config(workdir)["config"]["data"]["store"]), progress=progress)
    except ValueError as error:
        return [f"Invariance of the latents to loudness and pitch could not be measured: {error}"]
    write_invariance(workdir, results)
    lines = [f"  {line}" for line in invariance_lines(results)]
    return ["Invariance of the latents to loudness and pitch, and error of the reconstruction:", *lines]
