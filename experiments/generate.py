"""Makes new sounds from a trained space: wav files with names that say what they are, and a manifest.

  python experiments/generate.py --workdir=run --out=out --mode=reconstruct --files=flute.wav,my_sounds
  python experiments/generate.py --workdir=run --out=out --mode=sample --number=16
  python experiments/generate.py --workdir=run --out=out --mode=sample --draw_from=prior --spread=0.7
  python experiments/generate.py --workdir=run --out=out --mode=interpolate --files=flute.wav,bell.wav --steps=9
  python experiments/generate.py --workdir=run --out=out --mode=sweep --latent=3 --steps=9 --files=flute.wav
  python experiments/generate.py --workdir=run --out=out --mode=variations --files=kick.wav,snares --number=8 --spread=0.5
  python experiments/generate.py --workdir=run --out=out --mode=average --files=kick.wav,tom.wav,clap.wav
  python experiments/generate.py --workdir=run --out=out --mode=arithmetic --files=a.wav,b.wav,c.wav --weights=1,1,-1  # a+b-c
  python experiments/generate.py --workdir=run --out=out --mode=map --map=map --at="0.2,0.7;0.5,0.5"

In a space with a latent a frame, reconstruct, interpolate, sample and variations make sounds of any length, and there are more:

  python experiments/generate.py --workdir=run --out=out --mode=convert --files=voice.wav,drums   # keeps timing and level
  python experiments/generate.py --workdir=run --out=out --mode=interpolate --files=a.wav,b.wav --mixed_by=codes
  python experiments/generate.py --workdir=run --out=out --mode=plane --files=a.wav,b.wav,c.wav,d.wav --at="0,0;1,0;1,1"
  python experiments/generate.py --workdir=run --out=out --mode=edit --files=a.wav --edits=edits.csv
  python experiments/generate.py --workdir=run --out=out --mode=edit --files=a.wav --operator=stretch --amount=2
  python experiments/generate.py --workdir=run --out=out --mode=control --descriptor=centroid --curve=sine:0.5 --seconds=4
  python experiments/generate.py --workdir=run --out=out --mode=control --like=voice.wav --files=a.wav --between=800-2500
  python experiments/generate.py --workdir=run --out=out --mode=control --descriptor=centroid,loudness --curve_file=c.csv,l.csv

timbre_jax/generation/series_paths.py and edits.py describe interpolation and edits. Other modes work on points (means of a
sound's latents, weighted by amplitude) that are held for --seconds. Series are written beside the sounds (NAME_series.npz and
.csv), and can be given as --files again.

Files may have any rate, any number of channels and any format that libsndfile reads; a folder stands for the sound files in it.
Sounds are cut or padded to the length of the space, which the manifest says. A file that cannot be used becomes a line of the
manifest's "errors", and the others are processed.

OUT/manifest.json: {"library", "mode", "run", "settings", "sounds": [{"file", "latent", "series", "made_from", "remarks"}],
"errors"}, with the classes that the space predicts, if it does, and under "earlier" the sounds of earlier calls in OUT.
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


@dataclasses.dataclass(frozen=True)
class Generation(Settings):
    """Settings of every mode."""

    workdir: str = setting(help="Folder of the run, as experiments/train.py made it.")
    out: str = setting(help="Folder for the sounds and manifest.json.")


def main(_) -> int:
    import timbre_jax.maps.generation_mode  # noqa: F401, adds the mode "map"
    from timbre_jax.generation.generate import generate

    shared, mode = command_line.settings(Generation), command_line.chosen_settings("mode", MODES)
    command_line.use_compilation_cache()
    manifest = generate(shared.workdir, shared.out, mode)
    for error in manifest["errors"]:
        print(f"left out: {error['error']}")
    out = Path(shared.out)
    print(f"{len(manifest['sounds'])} sounds in {out}, described in {out / 'manifest.json'}")
    return 0


if __name__ == "__main__":
    command_line.define_flags(Generation)
    command_line.define_choice("mode", MODES, default="sample", help="How sounds are made.")
    command_line.run(main, __doc__)
