"""Tests of damaged stores and runs, full disks and wrong commands."""

from __future__ import annotations

import json
import resource
import shutil

import numpy as np
import pytest

import timbre_jax
from tests.helpers.evaluations import evaluate
from tests.helpers.processes import run
from tests.helpers.runs import assert_same_run, small_config, small_sources
from timbre_jax.evaluation.runs import open_run
from timbre_jax.generation.generate import generate
from timbre_jax.generation.settings import Sample
from timbre_jax.training.loop import train_and_evaluate

pytestmark = pytest.mark.xdist_group("small_analysis")


def one_line(error) -> bool:
    return "\n" not in str(error.value) and len(str(error.value)) < 500


def cut(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def change_json(file, **changes):
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda s: (s / "index.json").unlink(), "not a finished store"),
        (lambda s: cut(s / "index.json"), "not readable as JSON"),
        (lambda s: change_json(s / "index.json", version=9), r"unknown version of the store \(got 9, expected 2\)"),
        (lambda s: change_json(s / "index.json", format="x"), "not the index of a store"),
        (lambda s: next(s.glob("test-*")).unlink(), r"test-00000-of-00001.array_record is missing; copy it again"),
        (lambda s: cut(next(s.glob("test-*"))), r"test-00000-of-00001.array_record: damaged or cut short .*make the store"),
        (lambda s: next(s.glob("test-*")).write_bytes(b"x" * 10), "array_record: damaged or cut short"),
        (lambda s: (s / "records.csv").write_text("a,b\n"), r"records.csv: its columns are not those of version 2"),
    ],
)
def test_damaged_store_is_a_one_line_error(pca_run, small_store, tmp_path, damage, message):
    store = shutil.copytree(small_store, tmp_path / "store", ignore=shutil.ignore_patterns("features"))
    damage(store)
    with pytest.raises(ValueError, match=message) as error:
        evaluate([pca_run], tmp_path / "out", store=store, sounds=0, progress=False)
    assert one_line(error)


def test_damaged_features_are_a_one_line_error_with_a_remedy(pca_run, small_store, tmp_path):
    store = shutil.copytree(small_store, tmp_path / "store", ignore=shutil.ignore_patterns("features"))
    table = evaluate([pca_run], tmp_path / "out", store=store, sounds=0, progress=False)
    file = next((store / "features").glob("*/test-*.features"))
    cut(file)
    with pytest.raises(ValueError, match=f"damaged or cut short .*delete {file.parent} to analyze") as error:
        evaluate([pca_run], tmp_path / "out", store=store, sounds=0, progress=False)
    assert one_line(error)
    shutil.rmtree(file.parent)  # as the message says
    again = evaluate([pca_run], tmp_path / "out", store=store, sounds=0, progress=False)
    assert again.column("mse") == table.column("mse")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda r: (r / "config.json").unlink(), "is not a run: it has no config.json"),
        (lambda r: cut(r / "config.json"), r"config.json cannot be read"),
        (lambda r: change_json(r / "config.json", format=9), "has format 9, written by timbre_jax"),
        (lambda r: shutil.rmtree(r / "best"), "has no checkpoint yet"),
        (lambda r: max(r.glob("best/*/arrays/**/d/*")).unlink(), "has lost its file arrays/"),
        (lambda r: cut(next(r.glob("best/*/document.json"))), r"document.json is damaged"),
    ],
)
def test_damaged_run_is_a_one_line_error(pca_run, tmp_path, damage, message):
    workdir = shutil.copytree(pca_run, tmp_path / "run")
    damage(workdir)
    with pytest.raises(ValueError, match=message) as error:
        open_run(workdir)
    assert one_line(error)


@pytest.mark.slow
def test_lost_space_is_restored_by_the_same_command(tmp_path):

    def train(workdir, steps):
        return train_and_evaluate(small_config(steps=steps), workdir, sources=small_sources(), progress=False)

    whole, workdir = tmp_path / "whole", tmp_path / "run"
    train(whole, 20)
    shutil.copytree(whole, workdir)
    space, result = timbre_jax.load(workdir), train(workdir, 20)
    shutil.rmtree(workdir / "best")
    with pytest.raises(ValueError, match="training command again"):
        timbre_jax.load(workdir)
    assert train(workdir, 20) == result
    again = timbre_jax.load(workdir)
    for name in ("latent_mean", "latent_std"):
        np.testing.assert_allclose(again.statistics[name], space.statistics[name], atol=1e-6)
    shutil.rmtree(workdir / "best")
    train(workdir, 40)
    train(whole, 40)
    assert_same_run(workdir, whole)


def test_full_disk_is_a_one_line_error_and_generation_can_be_repeated(pca_run, tmp_path):
    # A limit of 50 kB on the size of files has the effect of a full disk.
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(ValueError, match=r"sample_000\.wav: could not be written .*full") as error:
            generate(pca_run, tmp_path, Sample(number=2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert one_line(error)
    assert not list(tmp_path.glob("*.wav"))
    assert len(generate(pca_run, tmp_path, Sample(number=2))["sounds"]) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["manifest.json", "sample_000.wav", "sample_001.wav"]


BEST = "--config=notes_best"


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (("train", "--config=TMP/text.py", "--workdir=TMP/run"), "text.py: not a configuration file (SyntaxError", 2),
        (("train", BEST, "--workdir=TMP/run", "--config.model.latent_size=0"), "latent_size must be positive (got 0)", 1),
        (
            ("train", BEST, "--workdir=TMP/run", "--config.augment.tilt_db=-1"),
            "config.augment.tilt_db=-1.0: must be at least 0",
            1,
        ),
        (("train", BEST, "--workdir=TMP/run", "--config.data.store=TMP"), "not a finished store (no index.json)", 1),
        (("generate", "--workdir=TMP", "--out=TMP/text.py"), "text.py: is a file, expected a folder", 1),
        (("generate", "--workdir=TMP", "--out=TMP/text.py/out"), "is not a run", 1),
        (("analyze", "--workdir=~/no-such-run", "--out=TMP/out"), "TMP/home/no-such-run: no such folder", 1),
    ],
)
def test_wrong_command_is_a_one_line_error(arguments, message, code, tmp_path):
    (tmp_path / "text.py").write_text("this is a text\n")
    command, *options = (argument.replace("TMP", str(tmp_path)) for argument in arguments)
    done = run(f"experiments/{command}.py", *options, HOME=str(tmp_path / "home"))
    assert message.replace("TMP", str(tmp_path)) in done.stderr
    assert done.returncode == code
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["text.py"]
