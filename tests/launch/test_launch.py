"""Command lines of launch/quickstart and launch/test, without the programs that they run."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def launch(name, *arguments, cwd=ROOT, **environment):
    return subprocess.run(
        [str(ROOT / "launch" / name), *arguments], cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("quickstart", ("usage: launch/quickstart", "--out DIR", "--number N", "--steps N", "the same command resumes it")),
        ("test", ("usage: launch/test", "--all", "TIMBRE_TEST_DATA", "PYTHON")),
    ],
)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_from_any_folder_writes_nothing(name, words, flag, tmp_path):
    done = launch(name, flag, cwd=tmp_path)
    assert done.returncode == 0
    assert done.stderr == ""
    assert all(word in done.stdout for word in words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("quickstart", ("--output", "x"), "unknown argument: --output"),
        ("quickstart", ("here",), "unknown argument: here"),
        ("quickstart", ("--out",), "--out needs a value"),
        ("quickstart", ("--number", "many"), "--number=many: must be a whole number"),
        ("quickstart", ("--steps=-3",), "--steps=-3: must be a whole number"),
        ("quickstart", ("--steps", "0"), "--steps=0: must be at least 1"),
    ],
)
def test_invalid_arguments_end_with_one_line_and_code_2(name, arguments, message):
    done = launch(name, *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""


def test_invalid_pytest_arguments_end_with_its_code(tmp_path):
    if not (ROOT / ".venv" / ".installed").is_file():
        pytest.skip("the project has no .venv")
    done = launch("test", "--no-such-option", TIMBRE_TEST_JOBS="0")
    assert done.returncode == 4
    assert "--no-such-option" in done.stderr


def test_missing_python_is_one_line(tmp_path):
    # A copy of the scripts, so that the project's .venv is not changed.
    import shutil

    shutil.copytree(ROOT / "launch", tmp_path / "launch")
    for name in ("pyproject.toml", "requirements.txt", "requirements-test.txt"):
        shutil.copy(ROOT / name, tmp_path)
    done = subprocess.run(
        [str(tmp_path / "launch" / "test")], env={**os.environ, "PYTHON": "python2.6"}, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "No Python 3.11, 3.12 or 3.13 found (tried: python2.6)" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / ".venv").exists()
