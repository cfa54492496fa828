"""Tests of the limits that keep the project readable: sizes, capabilities, layers, types."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted(path for room in ("timbre_jax", "experiments", "launch") for path in (ROOT / room).rglob("*.py"))
MOST_LINES_OF_A_FILE = 400
MOST_LINES_OF_A_FUNCTION = 80
MOST_PARAMETERS = 12
MOST_LINES_OF_THE_PROGRAMS = 2000
ADDRESSES = re.compile(r"https?://[^\s\"'`)>]*(pypi|pythonhosted|npmjs|conda|debian\.org|googleapis|download|/whl)[^\s\"'`)>]*")


def functions(path: Path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_files_are_short():
    files = [
        *SOURCES,
        *(ROOT / "tests").rglob("*.py"),
        *(ROOT / "timbre_jax").rglob("*.js"),
        *(ROOT / "timbre_jax").rglob("*.css"),
    ]
    lengths = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert {name: count for name, count in lengths.items() if count > MOST_LINES_OF_A_FILE} == {}


def test_functions_are_short():
    lengths = {
        f"{path.relative_to(ROOT)}:{node.name}": node.end_lineno - node.lineno + 1
        for path in SOURCES
        for node in functions(path)
    }
    assert {name: count for name, count in lengths.items() if count > MOST_LINES_OF_A_FUNCTION} == {}


def test_functions_have_few_parameters():
    def count(node):
        arguments = node.args
        names = [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
        return len([name for name in names if name not in ("self", "cls")])

    counts = {f"{path.relative_to(ROOT)}:{node.name}": count(node) for path in SOURCES for node in functions(path)}
    assert {name: number for name, number in counts.items() if number > MOST_PARAMETERS} == {}


def test_programs_are_thin():
    programs = sorted((ROOT / "experiments").glob("*.py"))
    lengths = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in programs}
    assert sum(lengths.values()) <= MOST_LINES_OF_THE_PROGRAMS, lengths


def test_capabilities_are_declared():
    # Models and representations declare what they can do; no code tests it by getattr with a default or hasattr.
    uses = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
                continue
            is_test = node.func.id == "hasattr" or (node.func.id == "getattr" and len(node.args) == 3)
            if is_test and re.search(r"model|representation|space\b", ast.unparse(node.args[0])):
                uses.append(f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)}")
    assert uses == []


def test_packages_import_only_lower_layers():
    pytest.importorskip("importlinter", reason="import-linter is in requirements-test.txt")
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()", "--no-cache"],
        cwd=ROOT, capture_output=True, text=True, check=False, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_types_of_the_public_packages_are_correct():
    pytest.importorskip("mypy", reason="mypy is in requirements-test.txt")
    done = subprocess.run([sys.executable, "-m", "mypy"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_files_contain_no_address_of_a_registry_or_download():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split("\n")
    texts = [ROOT / name for name in listed if name and Path(name).suffix not in (".npz", ".png", ".array_record", ".sf2")]
    matches = []
    for path in texts:
        try:
            text = path.read_text(encoding="utf-8")
        except (UnicodeDecodeError, OSError):
            continue
        matches += [f"{path.relative_to(ROOT)}: {match[0]}" for match in ADDRESSES.finditer(text)]
    assert matches == []
