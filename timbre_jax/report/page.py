"""One self-contained html page: no network, styles and pictures inside, for a screen, a phone, light or dark."""

from __future__ import annotations

import dataclasses
import html
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from timbre_jax.files import write_text
from timbre_jax.metrics.table import Table
from timbre_jax.report.players import data_uri

STYLE = """
:root { color-scheme: light dark; --paper: #ffffff; --ink: #1d2229; --soft: #5a626d; --line: #dfe3e8; --card: #f6f7f9;
  --accent: #2f6db3; }
@media (prefers-color-scheme: dark) { :root { --paper: #14171b; --ink: #e6e9ed; --soft: #a0a8b3; --line: #2c323a;
  --card: #1c2127; --accent: #7fb2ec; } }
* { box-sizing: border-box; }
html { scroll-behavior: smooth; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.55 system-ui, -apple-system, "Segoe UI",
Roboto,
  "Noto Sans", sans-serif; overflow-wrap: break-word; }
.sheet { max-width: 1060px; margin: 0 auto; padding: 1.5rem 1.1rem 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: .4rem 0 .3rem; }
h2 { font-size: 1.35rem; margin: 3rem 0 .5rem; padding-top: .6rem; border-top: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.6rem 0 .3rem; }
p { max-width: 46rem; margin: .5rem 0 .9rem; }
.lead { color: var(--soft); }
a { color: var(--accent); text-decoration: none; } a:hover { text-decoration: underline; }
nav { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: .8rem 1.1rem; margin: 1.2rem
0; } nav ol { columns: 2 18rem; margin: .2rem 0; padding-left: 1.4rem; }
figure { margin: 1rem 0 1.4rem; }
figure img { max-width: 100%; height: auto; background: #fff; border: 1px solid var(--line); border-radius: 10px;
padding: 6px;
  display: block; }
figcaption { color: var(--soft); font-size: .9rem; max-width: 46rem; margin-top: .4rem; }
.numbers { display: flex; flex-wrap: wrap; gap: .7rem; margin: 1.1rem 0; padding: 0; }
.number-card { flex: 1 1 11rem; border: 1px solid var(--line); border-radius: 10px; padding: .6rem .9rem; background:
var(--card); }
.number-card b { display: block; font-size: 1.45rem; font-variant-numeric: tabular-nums; }
.number-card span { color: var(--soft); font-size: .85rem; display: block; }
.wide { overflow-x: auto; margin: .6rem 0 1.2rem; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; }
th, td { padding: .28rem .65rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
th { color: var(--soft); font-weight: 600; white-space: nowrap; }
.number { text-align: right; white-space: nowrap; }
details { margin: .4rem 0 1rem; } summary { cursor: pointer; color: var(--accent); }
.note { border-left: 4px solid #e08a2e; background: var(--card); padding: .6rem .9rem; border-radius: 0 8px 8px 0;
max-width: 46rem; }
.sounds { display: flex; gap: .8rem; align-items: baseline; margin: .3rem 0; flex-wrap: wrap; }
.rowname { flex: 0 0 8.5rem; color: var(--soft); font-size: .9rem; }
.sounds > span:last-child { flex: 1 1 15rem; }
.play { font: inherit; font-size: .85rem; border: 1px solid var(--line); background: var(--card); color: var(--ink);
  border-radius: 999px; padding: .16rem .75rem; margin: .14rem .16rem; cursor: pointer; }
.play::before { content: "\\25B6\\FE0E"; color: var(--accent); font-size: .7em; margin-right: .45em; }
.play.on { background: var(--accent); color: var(--paper); } .play.on::before { content: "\\25A0"; color: inherit; }
.player-grid { display: grid; grid-template-columns: repeat(auto-fit, minmax(15rem, 1fr)); gap: .6rem; }
.sound { margin: 0; } .sound audio { width: 100%; height: 2.4rem; }
footer { margin-top: 3rem; border-top: 1px solid var(--line); padding-top: .8rem; color: var(--soft); font-size: .85rem;
}
@media print { nav, .play, audio { display: none; } }
@media (max-width: 600px) { body { font-size: 15px; } .rowname { flex-basis: 100%; } h1 { font-size: 1.5rem; } }
"""

SCRIPT = """
let now = null, button = null;
function stop() { if (now) { now.pause(); now = null; } if (button) { button.classList.remove("on"); button = null; } }
document.addEventListener("click", event => {
  const target = event.target.closest(".play"); if (!target) return;
  const same = target === button; stop(); if (same) return;
  now = new Audio(target.dataset.sound); button = target; target.classList.add("on");
  now.onended = stop; now.play();
});
document.addEventListener("play", event => { stop();
  document.querySelectorAll("audio").forEach(other => { if (other !== event.target) other.pause(); }); }, true);
"""


@dataclasses.dataclass(frozen=True)
class Section:
    """A heading and blocks of html below it (from the functions of this module)."""

    title: str
    blocks: tuple[str, ...]


def text(*paragraphs: str) -> str:
    """Plain paragraphs; `code` between backticks and **bold** are understood, everything else is shown as it is."""
    return "".join(f"<p>{_inline(paragraph)}</p>" for paragraph in paragraphs)


def note(message: str) -> str:
    """A paragraph set apart: what does not apply here, or how a number must not be read."""
    return f'<p class="note">{_inline(message)}</p>'


def subtitle(title: str) -> str:
    """A smaller heading."""
    return f"<h3>{html.escape(title)}</h3>"


def picture(png: bytes, *, alt: str, caption: str = "") -> str:
    """A PNG inside the page."""
    below = f"<figcaption>{_inline(caption)}</figcaption>" if caption else ""
    return f'<figure><img alt="{html.escape(alt, quote=True)}" src="{data_uri(png, "image/png")}">{below}</figure>'


def picture_of(images: Mapping[str, bytes], name: str, alt: str) -> str:
    """The picture of that name with what it shows below it; nothing where there is none."""
    return picture(images[name], alt=alt, caption=alt) if name in images else ""


def table(data: Table, *, folded: bool = False, title: str | None = None) -> str:
    """A table with its caption; folded away behind its title where it is long."""
    caption = f"<p class=lead>{_inline(data.caption)}</p>" if data.caption else ""
    body = f'{caption}<div class="wide">{data.html()}</div>'
    if not folded:
        return body
    return f"<details><summary>{html.escape(title or 'The numbers')} ({len(data.rows)} rows)</summary>{body}</details>"


def numbers(cards: Sequence[tuple[str, str, str]]) -> str:
    """Large numbers side by side: (what, the number, what it has to be held against)."""
    body = "".join(
        f'<div class="number-card"><span>{html.escape(what)}</span><b>{html.escape(value)}</b>'
        f"<span>{html.escape(against)}</span></div>"
        for what, value, against in cards
    )
    return f'<div class="numbers">{body}</div>'


def page(title: str, lead: str, sections: Sequence[Section], *, footer: str = "") -> str:
    """The whole document with a table of contents."""
    identifiers = _identifiers([section.title for section in sections])
    contents = "".join(
        f'<li><a href="#{name}">{html.escape(section.title)}</a></li>'
        for name, section in zip(identifiers, sections, strict=True)
    )
    body = "".join(
        f'<section><h2 id="{name}">{html.escape(section.title)}</h2>{"".join(section.blocks)}</section>'
        for name, section in zip(identifiers, sections, strict=True)
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head><body><div class=sheet>"
        f'<header><h1>{html.escape(title)}</h1><p class="lead">{_inline(lead)}</p></header>'
        f"<nav aria-label=contents><ol>{contents}</ol></nav><main>{body}</main>"
        f"<footer>{_inline(footer)}</footer></div><script>{SCRIPT}</script></body></html>\n"
    )


def write_page(path: str | os.PathLike, document: str) -> Path:
    """The page as a file, whole or not at all."""
    return write_text(path, document)


def _inline(message: str) -> str:
    escaped = html.escape(message)
    escaped = re.sub(r"`([^`]+)`", r"<code>\1</code>", escaped)
    return re.sub(r"\*\*([^*]+)\*\*", r"<b>\1</b>", escaped)


def _identifiers(titles: Sequence[str]) -> list[str]:
    seen: dict[str, int] = {}
    names = []
    for title in titles:
        name = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "part"
        seen[name] = seen.get(name, 0) + 1
        names.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
    return names
