"""Finds the sounds of a library that are most similar to a file, and infers its class.

  python experiments/similar.py --workdir=runs/hits --files=kick.wav
  python experiments/similar.py --workdir=runs/hits --files=my_sounds --k=20 --out=similar
  python experiments/similar.py --workdir=runs/hits --files=kick.wav --store=mine --split=train

Guide: docs/guides/sample_library.md
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # the clone, not the program's folder

from experiments import command_line
from timbre_jax.maps.settings import SimilarSettings


def main(_) -> None:
    """Runs the program."""
    from timbre_jax.maps.similar import find_similar, similar_text

    command_line.use_compilation_cache()
    settings = command_line.settings(SimilarSettings)
    print(similar_text(find_similar(settings)))
    written = [Path(settings.out) / "similar.json"] if settings.out else []
    workdir, files = f"--workdir={settings.workdir}", f"--files={','.join(settings.files)}"
    vary = ("experiments/generate.py", workdir, "--mode=variations", files, "--out=variations")
    command_line.print_written(*written, next=(vary,))


if __name__ == "__main__":
    command_line.define_flags(search=SimilarSettings)
    command_line.run(main, __doc__)
