"""Splits by instrument: seeded, even over families, and written down by name so that everyone tests on the same sounds."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path

import numpy as np

from timbre_jax.data.importers.base import SPLITS


class DisjointSets:
    """Union-find over `count` numbers; the smallest number of a set is its root."""

    def __init__(self, count: int):
        self._parents = list(range(count))

    def root(self, number: int) -> int:
        parents = self._parents
        while parents[number] != number:
            parents[number] = parents[parents[number]]
            number = parents[number]
        return number

    def join(self, one: int, other: int) -> None:
        first, second = sorted((self.root(one), self.root(other)))
        self._parents[second] = first

    def groups(self) -> list[list[int]]:
        """Returns the sets, each ascending, ordered by their first number."""
        groups: dict[int, list[int]] = {}
        for number in range(len(self._parents)):
            groups.setdefault(self.root(number), []).append(number)
        return list(groups.values())


def connected_groups(members: Mapping[Hashable, Iterable[Hashable]]) -> list[list[Hashable]]:
    """Groups keys that share a member, directly or over others.

    Args:
      members: what each key holds, e.g. preset -> raw samples.

    Returns:
      Groups of keys, each in the order of `members`, ordered by their first key.
    """
    keys, sets = list(members), DisjointSets(len(members))
    owner: dict[Hashable, int] = {}
    for number, held in enumerate(members.values()):
        for member in held:
            sets.join(number, owner.setdefault(member, number))
    return [[keys[number] for number in group] for group in sets.groups()]


def split_groups(families: Mapping[str, str], *, fractions: Sequence[float], seed: int, small: bool = False) -> dict[str, str]:
    """Splits instruments, as evenly over families as whole instruments allow.

    Args:
      families: instrument -> family.
      fractions: shares of train, valid and test; they sum to 1.
      seed: of the draw.
      small: every family keeps one in the first split (to train on), and no split stays empty that should not while there
        are enough.

    Returns:
      instrument -> split. What rounding to whole instruments leaves over in one family is carried to the next, so that the
      totals are right too.
    """
    if abs(sum(fractions) - 1) > 1e-6 or min(fractions) < 0:
        raise ValueError(f"split fractions {tuple(fractions)} do not sum to 1")
    generator = np.random.default_rng(seed)
    names, fractions = SPLITS, dict(zip(SPLITS, fractions, strict=True))
    # The smaller splits first: they are the ones that could miss a family. What they leave goes to the largest, of a small set
    # to the one to train on.
    *smaller, largest = sorted(names, key=lambda name: (small and name == names[0] and fractions[name] > 0, fractions[name]))
    debt = dict.fromkeys(names, 0.0)
    result: dict[str, list[str]] = {name: [] for name in names}
    for family in sorted(set(families.values())):
        members = sorted(name for name, its in families.items() if its == family)
        members = [members[i] for i in generator.permutation(len(members))]
        taken = dict.fromkeys(names, 0)
        for name in names:
            debt[name] += fractions[name] * len(members)
        for name in smaller:
            taken[name] = min(max(0, round(debt[name])), len(members) - small - sum(taken.values()))
        taken[largest] = len(members) - sum(taken.values())
        for name in names:
            debt[name] -= taken[name]
            if small:
                # What could not be given because a family has too few is no debt: else the next would pay for all of these.
                debt[name] = min(max(debt[name], -0.5), 0.5)
            result[name] += [members.pop() for _ in range(taken[name])]
    for name in smaller if small else ():
        if fractions[name] and not result[name] and len(result[largest]) > 1:
            sizes = Counter(families[member] for member in result[largest])
            given = max(sorted(result[largest]), key=lambda member: sizes[families[member]])
            result[largest].remove(given)
            result[name].append(given)
    return {instrument: split for split, chosen in result.items() for instrument in chosen}


def read_split_file(path: str | Path) -> dict[str, str]:
    """Reads {"train": [instrument, ...], "test": [...], ...} as instrument -> split.

    Raises:
      ValueError: not such a file, or an instrument in two splits.
    """
    try:
        with open(path, encoding="utf-8") as file:
            named = json.load(file)
    except OSError as error:
        raise ValueError(f"{path}: the split file cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise ValueError(f"{path}: the split file is not JSON ({error})") from None
    return _by_instrument(named, str(path))


def _by_instrument(named: object, path: str) -> dict[str, str]:
    splits: dict[str, str] = {}
    if not isinstance(named, dict):
        raise ValueError(f'{path}: a split file holds {{"train": [instruments], "test": [instruments]}}')
    for split in SPLITS:
        listed = named.get(split, [])
        if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
            raise ValueError(f"{path}: {split!r} has to be a list of instrument names")
        for instrument in listed:
            if splits.setdefault(instrument, split) != split:
                raise ValueError(f"{path}: instrument {instrument!r} is in {splits[instrument]!r} and in {split!r}")
    if not splits:
        raise ValueError(f'{path}: names no instruments under "train", "valid" or "test"')
    return splits


def committed_splits(name: str) -> dict[str, str]:
    """The splits that come with the package, `splits_NAME.json`, as instrument -> split; {} where there are none."""
    file = resources.files("timbre_jax.data.importers") / f"splits_{name}.json"
    if not file.is_file():
        return {}
    return _by_instrument(json.loads(file.read_text(encoding="utf-8")), f"splits_{name}.json")


def even_choice(sizes: Sequence[int], number: int, *, seed: int) -> np.ndarray:
    """Chooses `number` cells of a grid, evenly along every axis; a smaller number gives a subset of a larger one.

    Args:
      sizes: (presets, pitches, velocities).
      number: how many; 0 or more than there are means all.

    Returns:
      [number, 3] int cells, sorted. Counts per preset differ by at most 1; within a preset so do counts per pitch.
    """
    presets, pitches, velocities = sizes
    total = presets * pitches * velocities
    number = total if number <= 0 else min(number, total)
    generator = np.random.default_rng(seed)
    order = generator.permutation(presets)
    cells = []
    for rank, preset in enumerate(order):
        count = number // presets + (rank < number % presets)
        own = np.random.default_rng([seed, int(preset)])
        pitch_order, velocity_order = own.permutation(pitches), own.permutation(velocities)
        # Diagonals of the pitch x velocity table: every run of cells meets each pitch and velocity about equally often.
        step = np.arange(count)
        row = step % pitches
        column = (row + step // pitches) % velocities
        cells.append(np.stack([np.full(count, preset), pitch_order[row], velocity_order[column]], axis=1))
    chosen = np.concatenate(cells) if cells else np.zeros((0, 3), np.int64)
    return chosen[np.lexsort(chosen.T[::-1])]
