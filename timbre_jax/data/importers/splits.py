"""Splits instruments with a seed, balanced over families, or as fixed for known banks."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path

import numpy as np

from timbre_jax.data.importers.base import SPLITS


class DisjointSets:
    """Union-find over the numbers below `count`; the root of a set is its smallest number."""

    def __init__(self, count: int):
        self._parents = list(range(count))

    def root(self, number: int) -> int:
        """Returns the root of a number's set."""
        parents = self._parents
        while parents[number] != number:
            parents[number] = parents[parents[number]]
            number = parents[number]
        return number

    def join(self, one: int, other: int) -> None:
        """Merges the sets of two numbers."""
        first, second = sorted((self.root(one), self.root(other)))
        self._parents[second] = first

    def groups(self) -> list[list[int]]:
        """Returns the sets, each ascending, ordered by their first number."""
        groups: dict[int, list[int]] = {}
        for number in range(len(self._parents)):
            groups.setdefault(self.root(number), []).append(number)
        return list(groups.values())


def connected_groups(members: Mapping[Hashable, Iterable[Hashable]]) -> list[list[Hashable]]:
    """Groups keys that share a member, directly or through other keys.

    Args:
      members: members of each key, such as the raw samples of each preset.

    Returns:
      Groups of keys, each in the order of `members`, ordered by their first key.
    """
    keys, sets = list(members), DisjointSets(len(members))
    owner: dict[Hashable, int] = {}
    for number, own in enumerate(members.values()):
        for member in own:
            sets.join(number, owner.setdefault(member, number))
    return [[keys[number] for number in group] for group in sets.groups()]


def split_groups(
    families: Mapping[str, str], *, fractions: Sequence[float], seed: int, fill_splits: bool = False
) -> dict[str, str]:
    """Splits instruments, balanced over families.

    Rounding errors of one family are carried over to the next, so that the totals are right.

    Args:
      families: family of each instrument.
      fractions: fractions of train, valid and test; they sum to 1.
      seed: random seed.
      fill_splits: whether every family keeps an instrument in the first split, and no split with a fraction stays empty if
        there are enough instruments.

    Returns:
      Split of each instrument.

    Raises:
      ValueError: the fractions do not sum to 1.
    """
    if abs(sum(fractions) - 1) > 1e-6 or min(fractions) < 0:
        raise ValueError(f"fractions of the splits: must sum to 1 (got {tuple(fractions)})")
    generator = np.random.default_rng(seed)
    names, fractions = SPLITS, dict(zip(SPLITS, fractions, strict=True))
    # Smaller splits draw first, since they could miss a family. The rest is left to the largest split, or with `fill_splits` to
    # train.
    *smaller, largest = sorted(
        names, key=lambda name: (fill_splits and name == names[0] and fractions[name] > 0, fractions[name])
    )
    remainder = dict.fromkeys(names, 0.0)
    result: dict[str, list[str]] = {name: [] for name in names}
    for family in sorted(set(families.values())):
        members = sorted(name for name, own in families.items() if own == family)
        members = [members[i] for i in generator.permutation(len(members))]
        taken = dict.fromkeys(names, 0)
        for name in names:
            remainder[name] += fractions[name] * len(members)
        for name in smaller:
            taken[name] = min(max(0, round(remainder[name])), len(members) - fill_splits - sum(taken.values()))
        taken[largest] = len(members) - sum(taken.values())
        for name in names:
            remainder[name] -= taken[name]
            if fill_splits:
                # Instruments that a small family cannot give must not be taken from the next family.
                remainder[name] = min(max(remainder[name], -0.5), 0.5)
            result[name] += [members.pop() for _ in range(taken[name])]
    for name in smaller if fill_splits else ():
        if fractions[name] and not result[name] and len(result[largest]) > 1:
            sizes = Counter(families[member] for member in result[largest])
            moved = max(sorted(result[largest]), key=lambda member: sizes[families[member]])
            result[largest].remove(moved)
            result[name].append(moved)
    return {instrument: split for split, chosen in result.items() for instrument in chosen}


def read_split_file(path: str | Path) -> dict[str, str]:
    """Reads a JSON file of instruments by split and returns the split of each instrument.

    Raises:
      ValueError: the file cannot be read, or an instrument is in two splits.
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
    """Returns the split of each instrument from lists of instruments by split."""
    splits: dict[str, str] = {}
    if not isinstance(named, dict):
        raise ValueError(f'{path}: a split file must contain {{"train": [instruments], "test": [instruments]}}')
    for split in SPLITS:
        listed = named.get(split, [])
        if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
            raise ValueError(f"{path}: {split!r} must be a list of instrument names")
        for instrument in listed:
            if splits.setdefault(instrument, split) != split:
                raise ValueError(f"{path}: instrument {instrument!r} is in {splits[instrument]!r} and in {split!r}")
    if not splits:
        raise ValueError(f'{path}: no instruments in "train", "valid" or "test"')
    return splits


def committed_splits(name: str) -> dict[str, str]:
    """Returns the split of each instrument in the package's `splits_NAME.json`, or {}."""
    file = resources.files("timbre_jax.data.importers") / f"splits_{name}.json"
    if not file.is_file():
        return {}
    return _by_instrument(json.loads(file.read_text(encoding="utf-8")), f"splits_{name}.json")


def choose_cells(sizes: Sequence[int], number: int, *, seed: int) -> np.ndarray:
    """Chooses cells of a grid evenly along every axis.

    A smaller number of cells is a subset of a larger one.

    Args:
      sizes: numbers of presets, pitches and velocities.
      number: number of cells; 0 means all.
      seed: random seed.

    Returns:
      [number, 3] int cells, sorted. The numbers of cells per preset differ by at most 1, and so do those per pitch of a preset.
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
        # Diagonals of the pitch x velocity grid: any number of consecutive cells covers pitches and velocities evenly.
        step = np.arange(count)
        row = step % pitches
        column = (row + step // pitches) % velocities
        cells.append(np.stack([np.full(count, preset), pitch_order[row], velocity_order[column]], axis=1))
    chosen = np.concatenate(cells) if cells else np.zeros((0, 3), np.int64)
    return chosen[np.lexsort(chosen.T[::-1])]
