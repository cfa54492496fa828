"""Finds the sounds of a library that are similar to a file, and the file's class.

  python experiments/similar.py --workdir=run --files=kick.wav,my_sounds
  python experiments/similar.py --workdir=run --store=library --split=all --number=0 --files=kick.wav --k=20 --out=similar

Prints the nearest sounds of the library for every file, by distance in the space's latents (in training deviations), and
its class: as the model predicts it if it has class heads, and as most of the 5 nearest have it, with the share that agrees.
Of a space with a latent a frame, a sound is the mean of its latents, weighted by amplitude.
With --out: OUT/similar.json, and OUT/FILE/*.wav, the similar sounds, nearest first.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # the clone, not the program's folder

from experiments import command_line
from timbre_jax.maps.similar import SimilarSettings, find_similar, similar_text


def main(_) -> int:
    command_line.use_compilation_cache()
    print(similar_text(find_similar(command_line.settings(SimilarSettings))))
    return 0


if __name__ == "__main__":
    command_line.define_flags(SimilarSettings)
    command_line.run(main, __doc__)
