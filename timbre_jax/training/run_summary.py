"""Lines that a training program prints when a run has ended."""

from __future__ import annotations

import os

from timbre_jax.training.checkpointing.progress import Result
from timbre_jax.training.profiling import CompileClock, Profile, peak_memory, resources_line

_ENDS = {"finished": "Finished", "converged": "Stopped early, as nothing got better,"}


def summary_lines(result: Result, workdir: str | os.PathLike, clock: CompileClock, profile: Profile | None = None) -> list[str]:
    """Returns how a run ended, the memory and compilation time that it took, and where the trace of its steps is.

    Args:
      result: how the run ended.
      workdir: folder of the run.
      clock: clock that measured the compilation.
      profile: profiler of the run, if there was one.
    """
    if result.status == "stopped":
        lines = [f"Stopped at step {result.step} and saved in {workdir}. The same command resumes the run."]
    else:
        best = f"best {result.best_value:.6g} at step {result.best_step}"
        fitted = f"Fitted (mse {result.best_value:.6g})"
        done = f"{_ENDS[result.status]} at step {result.step} ({best})" if result.step else fitted
        lines = [f"{done}. The space is in {workdir}/best."]
    lines.append(f"Took {resources_line(peak_memory(), clock)}.")
    if profile and profile.written:
        last = min(profile.last, profile.taken)
        lines.append(f"The trace of steps {profile.first} to {last} is in {profile.directory}.")
    elif profile:
        lines.append(
            f"No trace in {profile.directory}: only {profile.taken} steps were taken, and it begins with step {profile.first}."
        )
    return lines
