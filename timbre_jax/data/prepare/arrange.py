"""Splits that depend on how the sounds sound: from loaded shards without a split to the shards of a store."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from timbre_jax.data.array_records import open_records
from timbre_jax.data.importers.base import SPLITS, ArrangingImporter
from timbre_jax.data.prepare.shards import ShardFiles, make_shards

MAX_READERS = 64
"""Shards that are open at once: a process may not have as many files open as a large library has shards."""


def arrange(
    source: ArrangingImporter, shards: list[ShardFiles], partial: Path, *, shard_size: int, progress: bool
) -> tuple[list[ShardFiles], list[dict]]:
    """Lets a source split its loaded sounds and writes them into shards of their splits.

    The loaded shards stay until the store has its name, so that an interrupted run does this step again and nothing else.

    Returns:
      The store's shards, and the rows of all sounds that were left out, by the doctor or by the source.
    """
    from tqdm import tqdm

    rows, left_out, places = [], [], []
    for number, shard in enumerate(shards):
        kept = 0
        for row in shard.rows():
            if row["left_out"]:
                left_out.append({**row, "split": ""})
            else:
                rows.append({**row, "mark": bytes.fromhex(row["mark"])})
                places.append((number, kept))
                kept += 1
    sounds = _Sounds(shards, places)
    chosen: dict[str, list[int]] = {split: [] for split in SPLITS}
    for number, (row, place) in enumerate(zip(rows, source.arrange(rows, sounds.samples) if rows else [], strict=True)):
        row |= {
            "split": place.split, "instrument": place.instrument, "left_out": place.left_out, "mark": "",
            "remarks": "; ".join(filter(None, (row["remarks"], place.remark))),
        }  # fmt: skip
        if place.left_out:
            left_out.append(row)
        else:
            chosen[place.split].append(number)
    arranged = [shard for split, members in chosen.items() for shard in make_shards(partial, split, members, shard_size)]
    with tqdm(total=sum(map(len, chosen.values())), unit=" sounds", desc="into splits", disable=not progress) as bar:
        for shard in arranged:
            for member in shard.positions:
                shard.add_row(rows[member], sounds.record(member))
            bar.update(len(shard.positions))
    return arranged, left_out


def content_fingerprint(plan: str, shards: list[ShardFiles]) -> str:
    """Equal for equal plans whose sounds were equal too."""
    state = hashlib.sha256(plan.encode())
    for shard in shards:
        for row in shard.rows():
            state.update(f"{row['id']}\0{row['split']}\0{row['digest']}\n".encode())
    return state.hexdigest()[:32]


class _Sounds:
    """Sounds of finished shards, read at random by their row; `places` are the shard of each row and the place in it."""

    def __init__(self, shards: list[ShardFiles], places: list[tuple[int, int]]):
        self._shards, self._places = shards, places
        self._readers: dict[int, object] = {}

    def record(self, row: int) -> bytes:
        shard, place = self._places[row]
        if shard not in self._readers:
            if len(self._readers) == MAX_READERS:
                self._readers.pop(next(iter(self._readers))).close()
            self._readers[shard] = open_records(self._shards[shard].sounds)
        return self._readers[shard].read([place])[0]

    def samples(self, row: int) -> np.ndarray:
        return np.frombuffer(self.record(row), "<i2")
