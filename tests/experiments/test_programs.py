"""Tests of --help of all programs, and of documented commands."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from experiments.config_flags import config_names

ROOT = Path(__file__).parents[2]
PROGRAMS = sorted(
    path.relative_to(ROOT)
    for folder in ("experiments", "experiments/studies", "launch")
    for path in (ROOT / folder).glob("*.py")
    if "\nif __name__ == " in path.read_text()
)
COMMAND = re.compile(r"python ((?:experiments|launch)/[\w/]+\.py) +(.*)|python -m ((?:experiments|launch)[\w.]+) +(.*)")


@pytest.fixture(scope="module")
def help_of(tmp_path_factory):
    """Returns a function that prints --help of a program, without JAX and `experiments`."""
    folder = tmp_path_factory.mktemp("installed")
    (folder / "timbre_jax").symlink_to(ROOT / "timbre_jax")
    (folder / "jax.py").write_text("raise ImportError('--help must not import JAX')\n")
    paths = (folder, sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}

    @functools.cache
    def shown(*command: str, cwd: Path = folder) -> str:
        # With -S, a package that is installed as a link to its clone is not found.
        words = [sys.executable, "-S", *command, "--help"]
        done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode == 0
        return done.stdout

    return shown


@pytest.mark.parametrize("program", PROGRAMS, ids=str)
def test_help_is_printed_by_path_from_any_folder(program, help_of):
    text = help_of(str(ROOT / program))
    assert (ROOT / program).read_text().split('"""')[1].splitlines()[0] in text
    assert "\n  --" in text, "no flags are listed"


@pytest.mark.parametrize("program", [path for path in PROGRAMS if path.parts[0] != "launch"], ids=str)
def test_help_is_a_sentence_three_examples_flags_and_a_link(program, help_of):
    lines = help_of(str(ROOT / program)).splitlines()
    assert lines[0].endswith(".")
    assert ["python experiments/" in line for line in lines[1:7]] == [False, True, True, True, False, False]
    assert re.search(r"docs/[\w/]+\.md$", lines[-1])


@pytest.mark.parametrize("program", [path for path in PROGRAMS if path.parts[0] != "launch"], ids=str)
def test_help_is_printed_as_a_module_from_the_clone(program, help_of):
    assert "\n  --" in help_of("-m", ".".join(program.with_suffix("").parts), cwd=ROOT)


def documented():
    """Yields the file, program and arguments of every command that is documented."""
    texts = [ROOT / name for name in ("README.md", "BUILD.md", "CONTRIBUTING.md")]
    texts += [*(ROOT / "docs").rglob("*.md"), *(ROOT / "experiments").rglob("*.py"), *(ROOT / "launch").rglob("*.py")]
    for path in texts:
        for line in re.sub(r"\\+\n", " ", path.read_text(encoding="utf-8")).splitlines():
            if match := COMMAND.search(line.split("`")[1] if line.startswith("| ") and line.count("`") == 2 else line):
                program = match[1] or f"{match[3].replace('.', '/')}.py"
                yield path.relative_to(ROOT), program, re.split(r" -- |  +#|`", match[2] or match[4])[0]


def test_documented_commands_have_flags_that_exist(help_of):
    wrong, commands = [], list(documented())
    assert len(commands) > 50
    for path, program, arguments in commands:
        if not (ROOT / program).is_file():
            wrong.append(f"{path}: no program {program}")
            continue
        flags = set(re.findall(r"^  --(?:\[no\])?(\w+)", help_of(str(ROOT / program)), re.MULTILINE))
        for name in re.findall(r"(?:^| )--(\w+)", arguments):
            if name not in flags and name.removeprefix("no") not in flags and name != "help":
                wrong.append(f"{path}: {program} has no flag --{name}")
        for name in re.findall(r"--config=(\w+)(?=[ :]|$)", arguments):
            if name not in config_names() and name not in ("NAME", "FILE"):
                wrong.append(f"{path}: no configuration {name}")
    assert wrong == []
