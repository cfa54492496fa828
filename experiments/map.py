"""Makes a map of a library that can be clicked: a page, a picture, a grid of new sounds; with --serve a new sound at any click.

  python experiments/map.py --workdir=run --out=map                         # of what the run was trained on
  python experiments/map.py --workdir=run --store=library --split=all --out=map
  python experiments/map.py --workdir=run --out=map --serve                 # a local page: click anywhere, hear a new sound
  python experiments/map.py --workdir=run --out=map --method=umap --neighbors=10 --min_dist=0.1
  python experiments/map.py --workdir=run --store=mine --names_from=labeled --out=map   # borrow its names

OUT/map.html: one file, no network (hover: name; click: the nearest sounds). map.png, grid.png: pictures. map.json: every
sound with its name, class and place. map.npz: the map and its inverse as arrays, for `generate.py --mode=map`. grid/*.wav:
the 10 x 10 grid of decoded sounds. A map that is already in OUT and was made in the same way is used again.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # the clone, not the program's folder

from experiments import command_line
from timbre_jax.maps.settings import MapSettings, ServeSettings


def main(_) -> int:
    from timbre_jax.maps.build import make_map_of_run
    from timbre_jax.maps.server import serve_map

    command_line.use_compilation_cache()
    settings, serving = command_line.settings(MapSettings), command_line.settings(ServeSettings)
    run_map = make_map_of_run(settings)
    print(f"map: {Path(settings.out) / 'map.html'}", flush=True)
    if serving.serve:
        serve_map(run_map, serving)
    return 0


if __name__ == "__main__":
    command_line.define_flags(MapSettings, ServeSettings)
    command_line.run(main, __doc__)
