"""Explains a trained space in one page, with tables, plots and sounds to work on.

  python experiments/analyze.py --workdir=runs/notes --out=analysis
  python experiments/analyze.py --workdir=runs/notes --out=analysis_real --store=nsynth --split=test --number=0

Writes OUT/report.html (one self-contained page), OUT/tables/*.csv, OUT/plots/*.png, OUT/audio/*.wav (original,
reconstruction and each ablation of a few notes; a sweep of every latent) and OUT/results.json, a list of {name, value,
low, high, baseline, definition} with stable names.

For a space with a latent a frame (timbre_jax/analysis/series.py): sounds with their curves, movement of the latents, playable
axes and their correlation with descriptors frame by frame, codes, and explanations of points that are held.

Scores, maps and statistics use --number notes of the split, even over its instruments; methods that decode hundreds of
variants of every note use --explained of them.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # the clone, not the program's folder

from experiments import command_line
from timbre_jax.report.settings import AnalysisSettings


def main(_) -> int:
    from timbre_jax.report.analyze_run import analyze_run

    command_line.use_compilation_cache()
    settings = command_line.settings(AnalysisSettings)
    analyze_run(settings)
    print(f"report: {Path(settings.out) / 'report.html'}")
    return 0


if __name__ == "__main__":
    command_line.define_flags(AnalysisSettings)
    command_line.run(main, __doc__)
