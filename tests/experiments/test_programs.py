"""Every program runs from a clone, by its path and as a module, where timbre_jax is installed and `experiments` is not."""

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
    """Function that returns the --help of a program by its path, where `experiments` and JAX cannot be imported."""
    folder = tmp_path_factory.mktemp("installed")
    (folder / "timbre_jax").symlink_to(ROOT / "timbre_jax")
    (folder / "jax.py").write_text("raise ImportError('--help must not wait for JAX')\n")
    paths = (folder, sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}

    @functools.cache
    def shown(*command: str, cwd: Path = folder) -> str:
        # -S: a package that was installed as a link to its clone, as this one may be, is not found.
        words = [sys.executable, "-S", *command, "--help"]
        done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode == 0
        return done.stdout

    return shown


@pytest.mark.parametrize("program", PROGRAMS, ids=str)
def test_by_its_path_from_any_folder(program, help_of):
    text = help_of(str(ROOT / program))
    assert (ROOT / program).read_text().split('"""')[1].splitlines()[0] in text
    assert "\n  --" in text, "no flags are listed"


@pytest.mark.parametrize("program", [path for path in PROGRAMS if path.parts[0] != "launch"], ids=str)
def test_as_a_module_from_the_clone(program, help_of):
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
            wrong.append(f"{path}: there is no {program}")
            continue
        flags = set(re.findall(r"^  --(?:\[no\])?(\w+)", help_of(str(ROOT / program)), re.MULTILINE))
        for name in re.findall(r"(?:^| )--(\w+)", arguments):
            if name not in flags and name.removeprefix("no") not in flags and name != "help":
                wrong.append(f"{path}: {program} has no --{name}")
        for name in re.findall(r"--config=(\w+)(?=[ :]|$)", arguments):
            if name not in config_names() and name not in ("NAME", "FILE"):
                wrong.append(f"{path}: there is no configuration {name}")
    assert wrong == []
