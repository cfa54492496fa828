"""Reproduces a table of results of the documentation, with its stores, runs and scores.

  python experiments/reproduce.py --result=notes --out=reproduced_notes
  python experiments/reproduce.py --result=notes --out=reproduced_nsynth --nsynth=nsynth-test --split_file=split.json
  python experiments/reproduce.py --result=library --out=reproduced_library --path=~/samples --fraction=0.04

Guide: docs/guides/reproduce.md
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # the clone, not the program's folder

from experiments import command_line
from experiments.studies.notes_table import NotesTable, reproduce_notes
from experiments.studies.rebnord2022 import LibraryTable, reproduce_library
from timbre_jax.settings import Settings, setting

RESULTS = {"notes": NotesTable, "library": LibraryTable}
RESULT_HELP = "Table to reproduce: notes (four models of notes), library (the nine models of Rebnord 2022)."


@dataclasses.dataclass(frozen=True)
class Reproduction(Settings):
    """Settings of every table."""

    out: str = setting(help="Folder for the stores, the runs and the table.")
    progress: bool = setting(True, "Show progress bars.")


def main(_) -> int:
    """Runs the program."""
    shared, table = command_line.settings(Reproduction), command_line.chosen_settings("result", RESULTS)
    command_line.use_compilation_cache()
    reproduce = reproduce_notes if isinstance(table, NotesTable) else reproduce_library
    where, signal = reproduce(Path(shared.out), table, progress=shared.progress)
    if signal:
        print(f"Stopped; {where} is saved. The same command resumes the work.")
        return 128 + signal
    print(where.read_text(encoding="utf-8"))
    command_line.print_written(where, Path(shared.out) / "runs", Path(shared.out) / "scores")
    return 0


if __name__ == "__main__":
    command_line.define_flags(every_table=Reproduction)
    command_line.define_choice(
        "result",
        RESULTS,
        default="notes",
        help=RESULT_HELP,
    )
    command_line.run(main, __doc__, large_pages=True)
