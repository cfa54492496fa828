"""Files of a store while it is built: shards with results of their check, and the store."""

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
from timbre_jax.data.prepare.summary import QualityCounts, quality_page
from timbre_jax.data.store import COLUMNS, shard_name
from timbre_jax.files import write_text

PREPARING = "preparing"
"""Folder in the unfinished store for the check results of finished shards and for sounds without a split."""
_REPORT_COLUMNS = ("id", "split", "kept", "left_out", "remarks", "instrument", "family", "source", "pitch", "velocity")


class ShardFiles:
    """Shard while it is built: sounds in an array_record file, check results in a JSON file.

    Attributes:
      split: split of the shard.
      number: number of the shard.
      file: file name of the shard.
      positions: positions of its sounds, in the plan or in another list.
    """

    def __init__(self, folder: Path, split: str, number: int, count: int, positions: list[int]):
        self.split, self.number, self.positions = split, number, positions
        self.file = shard_name(split, number, count)
        self.sounds = (folder / PREPARING if split == UNSORTED else folder) / self.file
        self.results_file = folder / PREPARING / (self.file.removesuffix(".array_record") + ".json")
        self._rows: list[dict] = []
        self._writer: RecordWriter | None = None

    def is_finished(self) -> bool:
        """Returns whether the check results and all kept sounds are written."""
        if not (self.results_file.is_file() and self.sounds.is_file()):
            return False
        return count_records(self.sounds) == sum(not row["left_out"] for row in self.rows())

    def rows(self) -> list[dict]:
        """Reads the rows of the shard from its file of check results."""
        return json.loads(self.results_file.read_text(encoding="utf-8"))

    def add(self, records: Iterable[Record], results: Iterable) -> None:
        """Adds sounds in order; the last one finishes the shard."""
        for record, result in zip(records, results, strict=True):
            row = {name: getattr(record, name) for name in Record._fields if name not in ("location", "left_out")}
            row |= {
                "f0_hz": result.f0, "pitch_moves": int(result.pitch_moves), "remarks": "; ".join(result.remarks),
                "samples": 0 if result.pcm is None else len(result.pcm), "left_out": result.left_out,
                "digest": result.digest, "signature": result.signature.hex(),
            }  # fmt: skip
            self.add_row(row, b"" if result.left_out else result.pcm.tobytes())

    def add_row(self, row: dict, sound: bytes) -> None:
        """Adds a sound with its row; the last one finishes the shard."""
        if self._writer is None:
            self._writer = RecordWriter(self.sounds)
        if not row["left_out"]:
            self._writer.write(sound)
        self._rows.append(row)
        if len(self._rows) == len(self.positions):
            self._writer.close()
            write_text(self.results_file, json.dumps(self._rows, ensure_ascii=False), sync=True)
            self._writer, self._rows = None, []

    def leave_out(self, reasons: dict[int, str]) -> None:
        """Leaves out more sounds.

        Args:
          reasons: reason for each row to leave out.
        """
        rows = self.rows()
        kept = [number for number, row in enumerate(rows) if not row["left_out"]]
        writer = RecordWriter(self.sounds)
        for number, sound in zip(kept, read_records(self.sounds), strict=True):
            if number not in reasons:
                writer.write(sound)
        for number, reason in reasons.items():
            rows[number]["left_out"] = reason
        # If the run is killed between these two lines, the counts differ and the shard is written again.
        writer.close()
        write_text(self.results_file, json.dumps(rows, ensure_ascii=False), sync=True)


def make_shards(folder: Path, split: str, positions: list[int], shard_size: int) -> list[ShardFiles]:
    """Returns the shards of a split, `shard_size` positions each."""
    starts = range(0, len(positions), shard_size)
    return [
        ShardFiles(folder, split, number, len(starts), positions[start : start + shard_size])
        for number, start in enumerate(starts)
    ]


def drop_duplicates(shards: list[ShardFiles]) -> None:
    """Finds duplicate notes and leaves them out of their shards."""
    digests, splits, pitches, ids, places = [], [], [], [], []
    signatures = bytearray()
    for shard_number, shard in enumerate(shards):
        for number, row in enumerate(shard.rows()):
            if not row["left_out"]:
                digests.append(row["digest"])
                signatures += bytes.fromhex(row["signature"])
                splits.append(SPLITS.index(shard.split))
                pitches.append(row["pitch"])
                ids.append(row["id"])
                places.append((shard_number, number))
    if not ids:
        return
    reasons: dict[int, dict[int, str]] = {}
    duplicates = quality.find_duplicates(
        digests, np.frombuffer(signatures, np.int8).reshape(len(ids), -1), np.array(splits), np.array(pitches), ids
    )
    for position, reason in duplicates.items():
        shard_number, number = places[position]
        reasons.setdefault(shard_number, {})[number] = reason
    for shard_number, rows in reasons.items():
        shards[shard_number].leave_out(rows)


def publish(
    partial: Path, out: Path, shards: list[ShardFiles], unstored: Iterable[dict], index: dict, *, overwrite: bool
) -> None:
    """Writes the index, the records and the report, and renames the folder.

    Args:
      partial: folder of the unfinished store.
      out: folder of the store.
      shards: finished shards.
      unstored: rows of sounds that are in no shard, for the report.
      index: content of index.json without splits and counts; if `variable`, `samples` becomes the length of the longest sound.
      overwrite: whether to replace a store.

    Raises:
      ValueError: no sound is left.
    """
    splits = {split: {"count": 0, "shards": [], "instruments": set()} for split in SPLITS}
    running = longest = 0
    quality_counts = QualityCounts()
    with (
        open(partial / "records.csv", "w", encoding="utf-8", newline="") as records_file,
        open(partial / "doctor.csv", "w", encoding="utf-8", newline="") as doctor_file,
    ):
        records, report = csv.writer(records_file), csv.writer(doctor_file)
        records.writerow(COLUMNS)
        report.writerow(_REPORT_COLUMNS)
        for shard in shards:
            split, row_in_shard = splits[shard.split], 0
            for row in shard.rows():
                quality_counts.add(row["left_out"], row["remarks"])
                row = {**row, "kept": int(not row["left_out"])}
                report.writerow([row[name] for name in _REPORT_COLUMNS])
                if row["left_out"]:
                    continue
                row |= {"index": running, "position": split["count"], "shard": shard.number, "row": row_in_shard}
                records.writerow([row[name] for name in COLUMNS])
                split["count"] += 1
                split["instruments"].add(row["instrument"])
                running, row_in_shard = running + 1, row_in_shard + 1
                longest = max(longest, row["samples"])
            split["shards"].append({"file": shard.file, "count": row_in_shard})
        for row in unstored:
            row = {"remarks": "", **row, "kept": 0}
            quality_counts.add(row["left_out"], row["remarks"])
            report.writerow([row[name] for name in _REPORT_COLUMNS])
        for file in (records_file, doctor_file):
            file.flush()
            os.fsync(file.fileno())
    counts = quality_counts.counts()
    write_text(partial / "doctor.md", quality_page(index["title"], counts), sync=True)
    if not running:
        raise ValueError(
            f"{out}: no sound is left ({'; '.join(f'{n} {reason}' for reason, n in counts['left_out'].items())}); "
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
            out.rmdir()  # empty, as build_store checked
    os.replace(partial, out)
    shutil.rmtree(replaced, ignore_errors=True)
    remove_work_files(out)


def remove_work_files(store: Path) -> None:
    """Removes the files of a finished store that only its preparation needed."""
    shutil.rmtree(store / PREPARING, ignore_errors=True)
    (store / ".lock").unlink(missing_ok=True)
