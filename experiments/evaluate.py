"""Scores runs on the same held-out sounds and writes one table.

  python experiments/evaluate.py --workdir=runs/mean_image,runs/pca8,runs/notes --out=scores --store=notes
  python experiments/evaluate.py --workdir=runs/pca8,runs/notes --out=scores --store=notes --more_stores=nsynth
  python experiments/evaluate.py --workdir=runs/beta,runs/hits --out=scores --store=hits --metrics=lsd,stft,odg,ndb,kernel

Definitions of the scores: docs/results.md
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # the clone, not the program's folder

from experiments import command_line
from timbre_jax.evaluation.settings import EvaluationSettings
from timbre_jax.settings import Settings, setting


@dataclasses.dataclass(frozen=True)
class Output(Settings):
    """Settings of the output."""

    out: str = setting(help="Folder for the tables.")
    progress: bool = setting(True, "Show a progress bar.")


def main(_) -> None:
    """Runs the program."""
    output, settings = command_line.settings(Output), command_line.settings(EvaluationSettings)
    out = Path(output.out)
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out={out}: is a file; give a folder")
    command_line.use_compilation_cache()
    from timbre_jax.evaluation.comparison import evaluate

    evaluation = evaluate(settings, progress=output.progress)
    evaluation.write(out)
    print(evaluation.markdown)
    analyze = ("experiments/analyze.py", f"--workdir={settings.workdir[-1]}", f"--out={out / 'analysis'}")
    command_line.print_written(*(out / name for name in ("scores.md", "scores.csv", "results.json")), next=(analyze,))


if __name__ == "__main__":
    command_line.define_flags(evaluation=EvaluationSettings, output=Output)
    command_line.run(main, __doc__)
