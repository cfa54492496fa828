"""Explains a trained space in one page with tables, plots and players.

  python experiments/analyze.py --workdir=runs/notes --out=analysis
  python experiments/analyze.py --workdir=runs/notes --out=analysis_nsynth --store=nsynth --split=test --number=0
  python experiments/analyze.py --workdir=runs/violin --out=analysis_violin --explained=16

Guide: docs/guides/reading_the_analyses.md
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # the clone, not the program's folder

from experiments import command_line
from timbre_jax.report.settings import AnalysisSettings


def main(_) -> None:
    """Runs the program."""
    from timbre_jax.report.analyze_run import analyze_run

    command_line.use_compilation_cache()
    settings = command_line.settings(AnalysisSettings)
    analyze_run(settings)
    workdir, out = f"--workdir={settings.workdir}", Path(settings.out)
    sweep = ("experiments/generate.py", workdir, "--mode=sweep", "--latent=0", f"--out={out}/sweep")
    command_line.print_written(out / "report.html", out / "results.json", next=(sweep,))


if __name__ == "__main__":
    command_line.define_flags(analysis=AnalysisSettings)
    command_line.run(main, __doc__)
