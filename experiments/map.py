"""Makes a map of a library: a page on which a click plays, or makes, a sound.

  python experiments/map.py --workdir=runs/hits --out=map
  python experiments/map.py --workdir=runs/hits --out=map --serve
  python experiments/map.py --workdir=runs/hits --out=map_umap --store=mine --split=all --method=umap --names_from=hits

Guide: docs/guides/sample_library.md
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # the clone, not the program's folder

from experiments import command_line
from timbre_jax.maps.settings import MapSettings, ServeSettings


def given_flags(settings: MapSettings) -> list[str]:
    """Returns the flags of the settings that differ from their defaults."""
    fields = [field.name for field in dataclasses.fields(settings) if field.name != "progress"]
    values = [(name, getattr(settings, name)) for name in fields]
    return [f"--{name}={value}" for name, value in values if value != getattr(MapSettings, name, None)]


def main(_) -> None:
    """Runs the program."""
    from timbre_jax.maps.build import make_map_of_run
    from timbre_jax.maps.server import serve_map

    command_line.use_compilation_cache()
    settings, serving = command_line.settings(MapSettings), command_line.settings(ServeSettings)
    run_map = make_map_of_run(settings)
    workdir, out = f"--workdir={settings.workdir}", Path(settings.out)
    points = ("experiments/generate.py", workdir, "--mode=map", f"--map={out}", "--at=0.5,0.5", f"--out={out}/sounds")
    serve = ("experiments/map.py", *given_flags(settings), "--serve")
    files = (out / name for name in ("map.html", "map.json", "map.npz"))
    command_line.print_written(*files, next=(points,) if serving.serve else (serve, points))
    if serving.serve:
        serve_map(run_map, serving)


if __name__ == "__main__":
    command_line.define_flags(map=MapSettings, page=ServeSettings)
    command_line.run(main, __doc__)
