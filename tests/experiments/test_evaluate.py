"""Tests of the program that evaluates runs."""

from __future__ import annotations

import csv
import json

import pytest

from tests.helpers.processes import run

pytestmark = pytest.mark.xdist_group("small_analysis")


def test_tables_are_printed_and_written(pca_run, tmp_path):
    out = tmp_path / "scores"
    done = run("experiments/evaluate.py", f"--workdir={pca_run}", f"--out={out}", "--number=5", "--sounds=0", "--noprogress")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith((out / "scores.md").read_text(encoding="utf-8"))
    assert f"Wrote {out / 'scores.md'}\n" in done.stdout
    with open(out / "scores.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["run"], row["notes"]) for row in rows] == [("pca3", "5")]
    assert "store/pca3/mse" in [row["name"] for row in json.loads((out / "results.json").read_text(encoding="utf-8"))]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 1, "give --out=..."),
        (("--out={file}",), 1, "is a file; give a folder"),
        (("--out=scores", "--undefined_bandwidth=one"), 2, "undefined_bandwidth"),
    ],
)
def test_wrong_flags_are_a_one_line_error(tmp_path, arguments, code, message):
    (tmp_path / "file").write_text("")
    done = run("experiments/evaluate.py", *(argument.format(file=tmp_path / "file") for argument in arguments))
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr
