"""Tests of the study of the f0 analysis, with fewer notes than its default."""

import os
from pathlib import Path

import pytest

from experiments.studies import pitch_accuracy


@pytest.mark.slow
def test_rendered_and_real_notes_reach_the_documented_accuracy():
    folder = Path(os.environ.get("TIMBRE_TEST_DATA", "")) / "nsynth"
    real = pitch_accuracy.measure_real(str(folder)) if (folder / "examples.json").is_file() else []
    rendered = pitch_accuracy.measure_rendered(number=160, seed=1)
    rows = {row.name: row for row in pitch_accuracy.results(rendered, real)}
    assert rows["f0_within_10_cents"].value >= 0.95
    assert rows["lsd_all"].value <= 5.5
    assert rows["lsd_all"].value < rows["lsd_7"].value
    if real:
        assert rows["real_within_50_cents_folded"].value >= 0.98
    moving = pitch_accuracy.preset_lines(rendered).splitlines()[0]
    assert "Accordion" in moving
    assert "Piano" not in moving
