"""Writing of a report: page, tables, plots, sounds and results."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from timbre_jax.analysis.record import Analysis, Examples
from timbre_jax.audio.io import write_wave
from timbre_jax.files import write_text
from timbre_jax.generation.sound_files import plain_name
from timbre_jax.metrics.table import write_results
from timbre_jax.report.figures import figures
from timbre_jax.report.pages import page
from timbre_jax.report.plots import save_png
from timbre_jax.report.results import results
from timbre_jax.report.tables import tables


def write_report(
    analysis: Analysis,
    examples: Examples,
    out: str | os.PathLike,
    *,
    footer: str = "",
    step: Callable[[str], None] = lambda name: None,
) -> Path:
    """Writes report.html, results.json, tables/*.csv, plots/*.png and audio/*.wav.

    Args:
      analysis: analysis of a static or a series space.
      examples: sounds to play.
      out: folder, which is created.
      footer: last line of the page.
      step: called with the name of each step before it begins.

    Returns:
      Path of the page.
    """
    out = Path(out)
    step("figures")
    images = {name: save_png(figure, out / "plots" / f"{name}.png") for name, figure in figures(analysis, examples).items()}
    step("page")
    for table in tables(analysis):
        table.write_csv(out / "tables")
    _write_sounds(out / "audio", examples)
    write_results(out / "results.json", results(analysis))
    return write_text(out / "report.html", page(analysis, examples, images, footer=footer))


def _write_sounds(folder: Path, examples: Examples) -> None:
    """Writes NUMBER_TITLE_LABEL.wav and sweep_TITLE_STEP.wav; brackets in titles are dropped."""
    for number, (title, waves) in enumerate(examples.sounds):
        name = plain_name(title.split(" (")[0], most=80)
        for label, wave in waves.items():
            write_wave(folder / f"{number:02d}_{name}_{plain_name(label, most=80)}.wav", wave, examples.sample_rate)
    for title, waves in examples.sweeps:
        for position, wave in enumerate(waves.values()):
            write_wave(folder / f"sweep_{plain_name(title, most=80)}_{position}.wav", wave, examples.sample_rate)
