"""Rewrites loaded shards by split, for splits that depend on the sounds."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from timbre_jax.data.array_records import open_records
from timbre_jax.data.importers.base import SPLITS, ArrangingImporter
from timbre_jax.data.prepare.shards import ShardFiles, make_shards

MAX_READERS = 64
"""Number of shards that are open at once; a large library has more shards than a process may open files."""


def arrange(
    source: ArrangingImporter, shards: list[ShardFiles], partial: Path, *, shard_size: int, progress: bool
) -> tuple[list[ShardFiles], list[dict]]:
    """Lets the importer split its loaded sounds and writes them to shards of their splits.

    The loaded shards are kept until the store is complete, so that an interrupted run repeats only this step.

    Returns:
      Shards of the store, and the rows of all sounds that were left out, by the quality check or by the importer.
    """
    from tqdm import tqdm

    rows, left_out, places = [], [], []
    for number, shard in enumerate(shards):
        kept = 0
        for row in shard.rows():
            if row["left_out"]:
                left_out.append({**row, "split": ""})
            else:
                rows.append({**row, "signature": bytes.fromhex(row["signature"])})
                places.append((number, kept))
                kept += 1
    sounds = _ShardReader(shards, places)
    chosen: dict[str, list[int]] = {split: [] for split in SPLITS}
    assignments = source.arrange(rows, sounds.samples) if rows else []
    for number, (row, assignment) in enumerate(zip(rows, assignments, strict=True)):
        row |= {
            "split": assignment.split, "instrument": assignment.instrument, "left_out": assignment.left_out, "signature": "",
            "remarks": "; ".join(filter(None, (row["remarks"], assignment.remark))),
        }  # fmt: skip
        if assignment.left_out:
            left_out.append(row)
        else:
            chosen[assignment.split].append(number)
    arranged = [shard for split, members in chosen.items() for shard in make_shards(partial, split, members, shard_size)]
    with tqdm(total=sum(map(len, chosen.values())), unit=" sounds", desc="splits", disable=not progress) as bar:
        for shard in arranged:
            for member in shard.positions:
                shard.add_row(rows[member], sounds.record(member))
            bar.update(len(shard.positions))
    return arranged, left_out


def content_fingerprint(plan: str, shards: list[ShardFiles]) -> str:
    """Returns a fingerprint of a plan and its sounds."""
    state = hashlib.sha256(plan.encode())
    for shard in shards:
        for row in shard.rows():
            state.update(f"{row['id']}\0{row['split']}\0{row['digest']}\n".encode())
    return state.hexdigest()[:32]


class _ShardReader:
    """Reader of the sounds of finished shards by row; `places` are (shard, position) of rows."""

    def __init__(self, shards: list[ShardFiles], places: list[tuple[int, int]]):
        self._shards, self._places = shards, places
        self._readers: dict[int, object] = {}

    def record(self, row: int) -> bytes:
        """Returns the bytes of a sound."""
        shard, place = self._places[row]
        if shard not in self._readers:
            if len(self._readers) == MAX_READERS:
                self._readers.pop(next(iter(self._readers))).close()
            self._readers[shard] = open_records(self._shards[shard].sounds)
        return self._readers[shard].read([place])[0]

    def samples(self, row: int) -> np.ndarray:
        """Returns the samples of a sound, [T] int16."""
        return np.frombuffer(self.record(row), "<i2")
