"""Pages from jinja2 templates and static files in the package data.

A package with pages has the folders `templates/*.html.j2` and `static/*.{css,js}`. Its templates may extend and import those
of `timbre_jax.report`, such as `base.html.j2`. Text is escaped. `static("report.css")` inserts a static file unchanged, so that
a page is one file without network access.
"""

from __future__ import annotations

import functools
import re
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup, escape

from timbre_jax.metrics.table import format_cell
from timbre_jax.report.page_tables import page_table
from timbre_jax.report.players import data_uri, wav_uri

BASE_PACKAGE = "timbre_jax.report"


def render(name: str, *, package: str = BASE_PACKAGE, **values: Any) -> str:
    """Returns the text of a template.

    Args:
      name: file name of the template, such as "analysis.html.j2".
      package: package with the template; other names are looked up in `timbre_jax.report`.
      **values: variables of the template; a missing variable is an error.
    """
    return environment(package).get_template(name).render(contents=Contents(), **values)


@functools.cache
def environment(package: str = BASE_PACKAGE) -> jinja2.Environment:
    """Returns the jinja2 environment of the templates of a package, with all filters."""
    loaders = [jinja2.PackageLoader(name, "templates") for name in dict.fromkeys((package, BASE_PACKAGE))]
    created = jinja2.Environment(
        loader=jinja2.ChoiceLoader(loaders),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    created.filters |= {
        "inline": inline,
        "data_uri": data_uri,
        "wav_uri": wav_uri,
        "cell": format_cell,
        "page_table": page_table,
    }
    created.globals["static"] = lambda name: Markup(static(name, package=package))
    return created


def static(name: str, *, package: str = BASE_PACKAGE) -> str:
    """Returns the text of a static file of a package, or of `timbre_jax.report`."""
    for owner in (package, BASE_PACKAGE):
        file = resources.files(owner).joinpath("static", name)
        if file.is_file():
            return file.read_text(encoding="utf-8")
    raise FileNotFoundError(f"{package}: no static file {name}")


def inline(message: str) -> Markup:
    """Returns escaped text with `code` and **bold** as HTML elements."""
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(message)))
    return Markup(re.sub(r"\*\*([^*]+)\*\*", r"<b>\1</b>", text))


class Contents(list):
    """Table of contents of a page: pairs (identifier, title) in the order of the sections."""

    def add(self, title: str) -> str:
        """Adds a section and returns the identifier of its heading."""
        count = 1 + sum(_identifier(known) == _identifier(title) for _, known in self)
        name = _identifier(title) if count == 1 else f"{_identifier(title)}-{count}"
        self.append((name, title))
        return name


def _identifier(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "part"
