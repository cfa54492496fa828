"""Scores runs on the same held-out notes and writes one table of how well each reconstructs them.

  python experiments/evaluate.py --workdir=runs/mean_image,runs/pca8,runs/natsiou,runs/best --out=scores --store=notes
  python experiments/evaluate.py --workdir=runs/pca8,runs/best --out=scores --store=notes --more_stores=nsynth_test
  python experiments/evaluate.py --workdir=runs/beta,runs/best --out=scores --store=hits --metrics=lsd,stft,odg,ndb,kernel

The table has a row for each run and store: MSE and SSIM with 95 % intervals (bootstrap over instruments), MSE against the
reference run (the PCA among them, unless --reference names another), accuracy of the family by the 5 nearest training latents,
log-spectral distance of the sound. Baselines are runs too: name the mean image and PCA beside the others
(--config=mean_image, --config=pca8).

--metrics compares sounds too: pair by pair (lsd, stft, mel, level, odg, fingerprint) and as sets (ndb, frechet, kernel), with a
row for every baseline and for the representation's upper bound, and a table by class (timbre_jax/evaluation/audio_scores.py
defines them). Without it, runs of harmonic notes are scored as above, spaces with a latent a frame by lsd,stft,mel,level, and
others by lsd,stft,odg,ndb,kernel. For discrete spaces, another table gives the use of the codes; family_knn goes by the mean of
a sound's latents, weighted by amplitude.

Writes OUT/scores.md, OUT/scores.csv and OUT/results.json, a list of {name, value, low, high, baseline, definition}; where
sounds are compared also sounds.csv, classes.csv and, against the reference run sound by sound, paired.csv; of discrete spaces
codes.csv.
"""

from __future__ import annotations

import sys
from pathlib import Path

from absl import flags

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # the clone, not the program's folder

from experiments import command_line
from timbre_jax.evaluation.settings import EvaluationSettings


def main(_) -> int:
    settings = command_line.settings(EvaluationSettings)
    if not flags.FLAGS.out:
        raise ValueError("give --out=...; see --help")
    out = Path(flags.FLAGS.out)
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out={out} is a file; a table needs a folder")
    command_line.use_compilation_cache()
    from timbre_jax.evaluation.comparison import evaluate

    evaluation = evaluate(settings, progress=flags.FLAGS.progress)
    evaluation.write(out)
    print(evaluation.markdown, end="")
    return 0


if __name__ == "__main__":
    command_line.define_flags(EvaluationSettings)
    flags.DEFINE_string("out", None, "Folder for the tables.")
    flags.DEFINE_bool("progress", True, "Show a bar with the time left.")
    command_line.run(main, __doc__)
