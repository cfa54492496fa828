import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from timbre_jax.data.importers.splits import choose_cells, committed_splits, connected_groups, read_split_file, split_groups


@settings(deadline=None)
@given(st.dictionaries(st.integers(0, 40), st.lists(st.integers(0, 30), max_size=4), max_size=20))
def test_groups_are_connected_components(members):
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    groups = connected_groups(members)
    assert sorted(key for group in groups for key in group) == sorted(members)
    keys = list(members)
    pairs = [(k, 100 + m) for k, held in members.items() for m in held]
    rows, columns = zip(*pairs, strict=True) if pairs else ((), ())
    _, labels = connected_components(coo_matrix((np.ones(len(pairs)), (rows, columns)), shape=(200, 200)), False)
    expected = {}
    for key in keys:
        expected.setdefault(labels[key], []).append(key)
    assert sorted(map(sorted, groups)) == sorted(map(sorted, expected.values()))
    # The order of the input decides the order of groups and keys.
    assert groups == sorted((sorted(group, key=keys.index) for group in groups), key=lambda g: keys.index(g[0]))


SPLITS = ("train", "valid", "test")
FRACTIONS = (0.7, 0.1, 0.2)


def by_split(families, **options):
    """Returns the instruments of each split; every instrument has one."""
    drawn = split_groups(families, **options)
    assert drawn.keys() == families.keys()
    return {split: [name for name, its in drawn.items() if its == split] for split in SPLITS}


@settings(deadline=None)
@given(st.lists(st.sampled_from("abcdefg"), min_size=1, max_size=80), st.integers(0, 2**31))
def test_splits_are_complete_disjoint_reproducible_and_balanced(families, seed):
    named = {f"i{number}": family for number, family in enumerate(families)}
    splits = by_split(named, fractions=FRACTIONS, seed=seed)
    assert split_groups(dict(reversed(named.items())), fractions=FRACTIONS, seed=seed) == split_groups(
        named, fractions=FRACTIONS, seed=seed
    )
    for split, share in zip(SPLITS, FRACTIONS, strict=True):
        assert abs(len(splits[split]) - share * len(named)) <= 1.5
        for family in set(families):
            own = sum(named[name] == family for name in splits[split])
            assert abs(own - share * families.count(family)) < 2


def test_other_seeds_give_other_splits():
    named = {f"i{number}": "bass" for number in range(40)}
    assert split_groups(named, fractions=FRACTIONS, seed=0) != split_groups(named, fractions=FRACTIONS, seed=1)


def test_fractions_must_sum_to_one():
    with pytest.raises(ValueError, match="must sum to 1"):
        split_groups({"a": "bass"}, fractions=(0.5, 0.0, 0.6), seed=0)


@settings(deadline=None)
@given(st.tuples(st.integers(1, 12), st.integers(1, 20), st.integers(1, 6)), st.integers(0, 600), st.integers(0, 2**31))
def test_even_choice_is_even_and_nested(sizes, number, seed):
    cells = choose_cells(sizes, number, seed=seed)
    total = int(np.prod(sizes))
    expected = min(number or total, total)
    assert len(cells) == expected
    assert len({tuple(cell) for cell in cells.tolist()}) == expected
    assert (cells >= 0).all()
    assert (cells < np.array(sizes)).all()
    presets = np.bincount(cells[:, 0], minlength=sizes[0])
    assert presets.max() - presets.min() <= 1
    for preset in range(sizes[0]):
        mine = cells[cells[:, 0] == preset]
        pitches = np.bincount(mine[:, 1], minlength=sizes[1])
        assert pitches.max() - pitches.min() <= 1
    if expected < total:
        more = choose_cells(sizes, expected + 1, seed=seed)
        assert {tuple(c) for c in cells.tolist()} <= {tuple(c) for c in more.tolist()}


def test_split_files_are_read_or_rejected(tmp_path):
    path = tmp_path / "split.json"
    path.write_text(json.dumps({"train": ["a", "b"], "test": ["c"]}))
    assert read_split_file(path) == {"a": "train", "b": "train", "c": "test"}
    for text, message in [
        ("{", "not JSON"),
        ("[]", "must contain"),
        ('{"train": "a"}', "list of instrument names"),
        ('{"train": ["a"], "test": ["a"]}', "is in 'train' and in 'test'"),
        ('{"dev": ["a"]}', "no instruments in"),
    ]:
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            read_split_file(path)
    with pytest.raises(ValueError, match="cannot be read"):
        read_split_file(tmp_path / "none.json")


def test_splits_of_the_default_bank_are_unchanged():
    splits = committed_splits("timgm6mb")
    # Scores are only comparable on these splits, so any change must be noticed.
    assert Counter(splits.values()) == {"train": 37, "valid": 5, "test": 11}
    assert sorted(name for name, split in splits.items() if split == "test") == [
        "TimGM6mb:000-006-harpsichord", "TimGM6mb:000-012-marimba", "TimGM6mb:000-013-xylophone",
        "TimGM6mb:000-026-jazz-guitar", "TimGM6mb:000-036-slap-bass-1", "TimGM6mb:000-050-synth-strings-1",
        "TimGM6mb:000-053-voice-oohs", "TimGM6mb:000-068-oboe-orch", "TimGM6mb:000-069-english-horn",
        "TimGM6mb:000-079-ocarina", "TimGM6mb:000-108-kalimba",
    ]  # fmt: skip
    assert committed_splits("no-such-bank") == {}


@settings(deadline=None)
@given(st.dictionaries(st.integers(0, 200), st.integers(0, 6), min_size=1), st.integers(0, 5))
def test_small_libraries_have_every_family_in_train_and_no_empty_split(members, seed):
    families = {f"i{number:03d}": f"f{family}" for number, family in members.items()}
    result = by_split(families, fractions=(0.8, 0.1, 0.1), seed=seed, fill_splits=True)
    assert all(result[name] for name in SPLITS[: len(families)])
    held_out = {families[name] for name in result["valid"] + result["test"]}
    emptied = held_out - {families[name] for name in result["train"]}
    assert len(emptied) <= 2  # only instruments that were moved to otherwise empty splits
    if len(families) >= 60:
        assert not emptied
        assert len(result["test"]) == pytest.approx(0.1 * len(families), abs=len(set(families.values())))


def test_single_sound_classes_do_not_change_the_split_of_others():
    families = {f"single {number}": f"own {number}" for number in range(200)}
    families |= {f"{name} {number}": name for name in ("kick", "snare") for number in range(20)}
    result = by_split(families, fractions=(0.8, 0.1, 0.1), seed=0, fill_splits=True)
    for name in ("kick", "snare"):
        counts = {split: sum(member.startswith(name) for member in chosen) for split, chosen in result.items()}
        assert counts["train"] in (15, 16, 17)
        assert min(counts.values()) >= 1
    assert all(f"single {number}" in result["train"] for number in range(200))


@pytest.mark.parametrize("shares", [(0.5, 0.0, 0.5), (0.4, 0.2, 0.4)])
def test_class_with_one_sound_is_in_train(shares):
    families = {f"kick {number}": "kick" for number in range(10)} | {"odd": "rare"}
    assert split_groups(families, fractions=shares, seed=0, fill_splits=True)["odd"] == "train"
