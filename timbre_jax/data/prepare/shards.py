"""The files of a store while it is made: shards with their verdicts, and the step that turns them into a store."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from timbre_jax.data.array_records import RecordWriter, count_records, read_records
from timbre_jax.data.importers.base import SPLITS, UNSORTED, Record
from timbre_jax.data.prepare import quality
from timbre_jax.data.prepare.summary import DoctorCounts, doctor_page
from timbre_jax.data.store import COLUMNS, shard_name
from timbre_jax.files import write_text

PREPARING = "preparing"
"""Folder inside the unfinished store with the verdicts of each finished shard, and with sounds that have no split yet."""
_DOCTOR_COLUMNS = ("id", "split", "kept", "left_out", "remarks", "instrument", "family", "source", "pitch", "velocity")


class ShardFiles:
    """One shard in the making: sounds in `SPLIT-..array_record`, verdicts in `preparing/SPLIT-...json`.

    Attributes:
      split, number, file: its place and name. positions: of its sounds, in the plan or wherever they come from.
    """

    def __init__(self, folder: Path, split: str, number: int, count: int, positions: list[int]):
        self.split, self.number, self.positions = split, number, positions
        self.file = shard_name(split, number, count)
        self.sounds = (folder / PREPARING if split == UNSORTED else folder) / self.file
        self.verdicts = folder / PREPARING / (self.file.removesuffix(".array_record") + ".json")
        self._rows: list[dict] = []
        self._writer: RecordWriter | None = None

    def is_finished(self) -> bool:
        """Whether the shard is whole: its verdicts are there and as many sounds as they keep."""
        if not (self.verdicts.is_file() and self.sounds.is_file()):
            return False
        return count_records(self.sounds) == sum(not row["left_out"] for row in self.rows())

    def rows(self) -> list[dict]:
        return json.loads(self.verdicts.read_text(encoding="utf-8"))

    def add(self, records: Iterable[Record], verdicts: Iterable) -> None:
        """Adds sounds in order; the last one finishes the shard."""
        for record, verdict in zip(records, verdicts, strict=True):
            row = {name: getattr(record, name) for name in Record._fields if name not in ("where", "left_out")}
            row |= {
                "f0_hz": verdict.f0, "pitch_moves": int(verdict.pitch_moves), "remarks": "; ".join(verdict.remarks),
                "samples": 0 if verdict.pcm is None else len(verdict.pcm), "left_out": verdict.left_out,
                "digest": verdict.digest, "mark": verdict.mark.hex(),
            }  # fmt: skip
            self.add_row(row, b"" if verdict.left_out else verdict.pcm.tobytes())

    def add_row(self, row: dict, sound: bytes) -> None:
        """Adds a sound with its verdict as it stands in a finished shard."""
        if self._writer is None:
            self._writer = RecordWriter(self.sounds)
        if not row["left_out"]:
            self._writer.write(sound)
        self._rows.append(row)
        if len(self._rows) == len(self.positions):
            self._writer.close()
            write_text(self.verdicts, json.dumps(self._rows, ensure_ascii=False), sync=True)
            self._writer, self._rows = None, []

    def drop(self, gone: dict[int, str]) -> None:
        """Leaves out further sounds, by their row."""
        rows = self.rows()
        kept = [number for number, row in enumerate(rows) if not row["left_out"]]
        writer = RecordWriter(self.sounds)
        for number, sound in zip(kept, read_records(self.sounds), strict=True):
            if number not in gone:
                writer.write(sound)
        for number, reason in gone.items():
            rows[number]["left_out"] = reason
        # Killed between these two, the counts differ and the shard is made again.
        writer.close()
        write_text(self.verdicts, json.dumps(rows, ensure_ascii=False), sync=True)


def make_shards(folder: Path, split: str, positions: list[int], shard_size: int) -> list[ShardFiles]:
    """Returns the shards of a split, each with `shard_size` of the positions, the last one with the rest."""
    starts = range(0, len(positions), shard_size)
    return [
        ShardFiles(folder, split, number, len(starts), positions[start : start + shard_size])
        for number, start in enumerate(starts)
    ]


def drop_duplicates(shards: list[ShardFiles]) -> None:
    """Finds sounds that are there twice and takes them out of their shards."""
    digests, splits, pitches, ids, places = [], [], [], [], []
    signatures = bytearray()
    for which, shard in enumerate(shards):
        for number, row in enumerate(shard.rows()):
            if not row["left_out"]:
                digests.append(row["digest"])
                signatures += bytes.fromhex(row["mark"])
                splits.append(SPLITS.index(shard.split))
                pitches.append(row["pitch"])
                ids.append(row["id"])
                places.append((which, number))
    if not ids:
        return
    gone: dict[int, dict[int, str]] = {}
    found = quality.find_duplicates(
        digests, np.frombuffer(signatures, np.int8).reshape(len(ids), -1), np.array(splits), np.array(pitches), ids
    )
    for position, reason in found.items():
        which, number = places[position]
        gone.setdefault(which, {})[number] = reason
    for which, rows in gone.items():
        shards[which].drop(rows)


def publish(
    partial: Path, out: Path, shards: list[ShardFiles], others: Iterable[dict], index: dict, *, overwrite: bool
) -> None:
    """Writes the index, the records and the doctor's report of finished shards, and gives the folder its real name.

    Args:
      others: columns of sounds that are in no shard, each with the reason in `left_out`: for the report.
      index: what index.json says beside the splits and the doctor's counts; where it is `variable`, its `samples` becomes the
        longest sound's.

    Raises:
      ValueError: no sound is left.
    """
    splits = {split: {"count": 0, "shards": [], "instruments": set()} for split in SPLITS}
    running = longest = 0
    summary = DoctorCounts()
    with (
        open(partial / "records.csv", "w", encoding="utf-8", newline="") as records_file,
        open(partial / "doctor.csv", "w", encoding="utf-8", newline="") as doctor_file,
    ):
        records, report = csv.writer(records_file), csv.writer(doctor_file)
        records.writerow(COLUMNS)
        report.writerow(_DOCTOR_COLUMNS)
        for shard in shards:
            split, row_in_shard = splits[shard.split], 0
            for row in shard.rows():
                summary.add(row["left_out"], row["remarks"])
                row = {**row, "kept": int(not row["left_out"])}
                report.writerow([row[name] for name in _DOCTOR_COLUMNS])
                if row["left_out"]:
                    continue
                row |= {"index": running, "position": split["count"], "shard": shard.number, "row": row_in_shard}
                records.writerow([row[name] for name in COLUMNS])
                split["count"] += 1
                split["instruments"].add(row["instrument"])
                running, row_in_shard = running + 1, row_in_shard + 1
                longest = max(longest, row["samples"])
            split["shards"].append({"file": shard.file, "count": row_in_shard})
        for row in others:
            row = {"remarks": "", **row, "kept": 0}
            summary.add(row["left_out"], row["remarks"])
            report.writerow([row[name] for name in _DOCTOR_COLUMNS])
        for file in (records_file, doctor_file):
            file.flush()
            os.fsync(file.fileno())
    counts = summary.counts()
    write_text(partial / "doctor.md", doctor_page(index["title"], counts), sync=True)
    if not running:
        raise ValueError(
            f"no sound is left: {'; '.join(f'{n} {reason}' for reason, n in counts['left_out'].items())}; "
            f"see {partial / 'doctor.csv'}"
        )
    for split in splits.values():
        split["instruments"] = sorted(split["instruments"])
    index = {**index, "samples": longest if index["variable"] else index["samples"], "splits": splits, "doctor": counts}
    write_text(partial / "index.json", json.dumps(index, indent=1, ensure_ascii=False) + "\n", sync=True)
    replaced = out.with_name(out.name + ".replaced")
    if out.exists():
        if overwrite and (out / "index.json").is_file():
            shutil.rmtree(replaced, ignore_errors=True)
            os.replace(out, replaced)
        else:
            out.rmdir()  # an empty folder, see build_store
    os.replace(partial, out)
    shutil.rmtree(replaced, ignore_errors=True)
    clear(out)


def clear(store: Path) -> None:
    """Removes from a finished store what was needed only while it was made."""
    shutil.rmtree(store / PREPARING, ignore_errors=True)
    (store / ".lock").unlink(missing_ok=True)
