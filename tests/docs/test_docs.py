"""Documentation: the site builds, public names are listed, tables and pictures are small."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import timbre_jax

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
MOST_README_WORDS = 1000
MOST_COLUMNS = 7
MOST_PICTURE_BYTES = 150_000


def tables(text: str):
    """Yields the rows of cells of every table outside of code blocks."""
    rows: list[list[str]] = []
    for line in [*re.sub(r"```.*?```", "", text, flags=re.DOTALL).splitlines(), ""]:
        if line.startswith("|"):
            rows.append([cell.strip() for cell in line.strip().strip("|").split("|")])
        elif rows:
            yield rows
            rows = []


def test_site_builds_without_a_warning(tmp_path):
    for module in ("mkdocs", "material", "mkdocstrings_handlers.python"):
        pytest.importorskip(module, reason="pip install -r requirements-docs.txt")
    # Not --quiet: with it, --strict counts no warnings.
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert "fonts.googleapis.com" not in page


def test_flags_and_intervals_are_not_wrapped():
    hook = runpy.run_path(str(DOCS / "line_breaks.py"))["on_page_content"]
    page = '<code class="--x">a --out=<b>-1</b> -- --config.seed</code><table><tr><td>7.0 (4.8–9.5)</td></tr></table> (1–2) --k'
    kept = '<span class="unbroken">{}</span>'.format
    assert hook(page) == (
        f'<code class="--x">a {kept("--out")}=<b>-1</b> {kept("--")} {kept("--config.seed")}</code>'
        f"<table><tr><td>7.0 {kept('(4.8–9.5)')}</td></tr></table> (1–2) --k"
    )


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= MOST_README_WORDS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_tables_have_few_columns_and_one_interval_a_cell(page):
    for rows in tables(page.read_text(encoding="utf-8")):
        assert max(map(len, rows)) <= MOST_COLUMNS, rows[0]
        crowded = [cell for row in rows for cell in row if len(re.findall(r"\([-+.\d]+ ?(?:–|to) ?[-+.\d]+\)", cell)) > 1]
        assert crowded == []


def test_api_reference_has_every_public_name():
    text = (DOCS / "api" / "index.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\[`(\w+)`\]\[timbre_jax\.", text)) == set(timbre_jax.__all__) - {"__version__"}


def test_api_reference_has_every_room():
    text = "".join(path.read_text(encoding="utf-8") for path in (DOCS / "api").glob("*.md"))
    documented = set(re.findall(r"^::: timbre_jax\.(\w+)$", text, re.MULTILINE))
    rooms = {path.stem for path in (ROOT / "timbre_jax").iterdir() if (path / "__init__.py").is_file() or path.suffix == ".py"}
    assert documented == rooms - {"__init__", "version"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_linked_files_exist(page):
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_is_valid_and_uses_public_names(page):
    for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        compile(block, page.name, "exec")
        used = set(re.findall(r"(?<!from )(?<!import )timbre_jax\.([a-zA-Z]\w*)", block))
        assert used <= set(timbre_jax.__all__)


def test_pictures_are_small_and_used():
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    pictures = [path for path in DOCS.rglob("*") if path.suffix in (".png", ".svg", ".jpg")]
    assert pictures
    for path in pictures:
        assert path.stat().st_size < MOST_PICTURE_BYTES, path.name
        assert path.name in text, f"{path.name} is on no page"
