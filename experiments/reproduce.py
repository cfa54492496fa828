"""Reproduces two tables of the README from nothing: stores, trained runs and scores, by one command.

  python experiments/reproduce.py --result=notes --out=reproduced
  python experiments/reproduce.py --result=notes --out=reproduced --nsynth=NSYNTH_FOLDER --split_file=split.json
  python experiments/reproduce.py --result=library --out=reproduced --path=DRUMKITS --fraction=0.04

notes: the mean image, PCA with 8 components, `natsiou2023` and `notes_best` trained on notes rendered from the default bank;
with --nsynth also on these and the training half of the folder together. Scored on the instruments that the bank's split holds
out and, with --nsynth, on the real notes of the test half (--split_file names both halves by instrument).

library: the nine models of Rebnord 2022, 187,000 steps in all, on one library of sounds. The table has our scores beside the
thesis'.

Takes hours on two cores; --only selects some of the models. Stopped or killed, the same command resumes the work.
OUT/scores/scores.md (notes) or OUT/library.md is the table, OUT/runs has the runs, OUT/stores the sounds.
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


@dataclasses.dataclass(frozen=True)
class Reproduction(Settings):
    """Settings of every table."""

    out: str = setting(help="Folder for stores, runs and tables.")
    progress: bool = setting(True, "Show bars with the time left.")


def main(_) -> int:
    shared, table = command_line.settings(Reproduction), command_line.chosen_settings("result", RESULTS)
    command_line.use_compilation_cache()
    reproduce = reproduce_notes if isinstance(table, NotesTable) else reproduce_library
    where, signal = reproduce(Path(shared.out), table, progress=shared.progress)
    if signal:
        print(f"Stopped in {where} and saved. The same command resumes the work.")
        return 128 + signal
    print(where.read_text(encoding="utf-8"))
    print(f"The table is {where}.")
    return 0


if __name__ == "__main__":
    command_line.define_flags(Reproduction)
    command_line.define_choice("result", RESULTS, default="notes", help="Which table.")
    command_line.run(main, __doc__, large_pages=True)
