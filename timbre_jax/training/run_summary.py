"""Summary of a run that a training program prints at its end."""

from __future__ import annotations

import os

from timbre_jax.training.checkpointing.progress import Result
from timbre_jax.training.profiling import CompileClock, Profile, peak_memory, resources_line

_STATUS_WORDS = {"finished": "Finished", "converged": "Converged"}


def summary_lines(result: Result, workdir: str | os.PathLike, clock: CompileClock, profile: Profile | None = None) -> list[str]:
    """Returns lines on the result of a run, its memory and compilation time, and its trace.

    Args:
      result: result of the run.
      workdir: folder of the run.
      clock: clock that measured the compilations.
      profile: profiler of the run, or None.
    """
    if result.status == "stopped":
        lines = [f"Stopped at step {result.step} and saved in {workdir}. The same command resumes the run."]
    else:
        best = f"best {result.best_value:.6g} at step {result.best_step}"
        fitted = f"Fitted (mse {result.best_value:.6g})"
        done = f"{_STATUS_WORDS[result.status]} at step {result.step} ({best})" if result.step else fitted
        lines = [f"{done}. The space is in {workdir}/best."]
    lines.append(f"Used {resources_line(peak_memory(), clock)}.")
    if profile and profile.written:
        last = min(profile.last, profile.steps_taken)
        lines.append(f"The trace of steps {profile.first} to {last} is in {profile.directory}.")
    elif profile:
        lines.append(
            f"No trace in {profile.directory}: it starts at step {profile.first}, and only {profile.steps_taken} were taken."
        )
    return lines
