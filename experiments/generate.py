"""Makes new sounds from a trained space, with a manifest that describes each sound.

  python experiments/generate.py --workdir=runs/notes --out=between --mode=interpolate --files=flute.wav,bell.wav --steps=9
  python experiments/generate.py --workdir=runs/hits --out=more_kicks --mode=variations --files=kick.wav --number=8
  python experiments/generate.py --workdir=runs/violin --out=wobble --mode=control --descriptor=centroid --curve=sine:0.5

Guides: docs/guides/notes.md, docs/guides/sample_library.md and docs/guides/moving_sounds.md
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # the clone, not the program's folder

from experiments import command_line
from timbre_jax.generation.settings import MODE_SETTINGS
from timbre_jax.maps.settings import MapPoints
from timbre_jax.settings import Settings, setting

MODES = {kind.mode: kind for kind in (*MODE_SETTINGS, MapPoints)}

MODE_HELP = (
    "Operation that creates the sounds: reconstruct (encodes and decodes each file), sample (random sounds), interpolate "
    "(sounds between two files), sweep (one latent through its range), variations (random sounds near each file), average "
    "(mean of files), arithmetic (weighted sum of files), map (points of a map), and in series spaces convert (the timbre of "
    "the training sounds for each file), plane (mix of four files), edit (operators on each file), control (sounds that follow "
    "descriptor curves)."
)


@dataclasses.dataclass(frozen=True)
class Generation(Settings):
    """Settings of every mode."""

    workdir: str = setting(help="Folder of the run, which experiments/train.py created.")
    out: str = setting(help="Folder for the sounds and manifest.json.")


def main(_) -> None:
    """Runs the program."""
    import timbre_jax.maps.generation_mode  # noqa: F401, adds the mode "map"
    from timbre_jax.generation.generate import generate

    shared, mode = command_line.settings(Generation), command_line.chosen_settings("mode", MODES)
    command_line.use_compilation_cache()
    manifest = generate(shared.workdir, shared.out, mode)
    for error in manifest["errors"]:
        print(f"left out: {error['error']}")
    out, sounds = Path(shared.out), manifest["sounds"]
    new = [sound["file"] for sound in sounds if not sound["file"].endswith("_original.wav")] or [sounds[0]["file"]]
    first = out / new[0]
    vary = ("experiments/generate.py", f"--workdir={shared.workdir}", "--mode=variations", f"--files={first}")
    print(f"{len(new)} new {'sound' if len(new) == 1 else 'sounds'} in {out}")
    command_line.print_written(first, out / "manifest.json", next=((*vary, f"--out={out}/variations"),))


if __name__ == "__main__":
    command_line.define_flags(every_mode=Generation)
    command_line.define_choice("mode", MODES, default="sample", help=MODE_HELP)
    command_line.run(main, __doc__)
