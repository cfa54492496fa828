"""The paper's numbers as data, and the comparison that does not depend on the numbering of latents."""

from __future__ import annotations

import numpy as np
import pytest

from timbre_jax.analysis import natsiou2023
from timbre_jax.analysis.agreement import agreement
from timbre_jax.analysis.statistics import box_plot, class_statistics


def test_table_1_says_what_the_paper_says_of_it():
    means = {name: mean for name, (mean, _) in natsiou2023.TABLE_1.items()}
    assert len(means) == 9
    assert {len(part) for pair in natsiou2023.TABLE_1.values() for part in pair} == {8}
    # "if the value of the feature 2 is 4, the instrument will be more probably a flute"; it is above 2.7 in every class.
    assert max(means, key=lambda name: means[name][2]) == "flute"
    assert min(mean[2] for mean in means.values()) == 2.71


def test_separation_does_not_depend_on_numbering():
    generator = np.random.default_rng(0)
    labels = np.arange(90) % 3
    latents = generator.standard_normal((90, 4)) + labels[:, None] * [0, 3, 1, 0]
    one = natsiou2023.separation_table(class_statistics(latents, labels))
    other = natsiou2023.separation_table(class_statistics(latents[:, [2, 0, 3, 1]], labels))
    assert one.column("here")[:4] == pytest.approx(other.column("here")[:4])
    assert one.column("here")[0] > 0.8
    assert np.isnan(one.column("here")[4:]).all()
    assert len(one.column("paper")) == 8


def test_verdicts_name_this_runs_own_latents():
    latents = np.random.default_rng(1).standard_normal((100, 4)) * [1, 0.1, 1, 1] + [0, 5, 0, 0]
    importance = np.array([4.0, 1.0, 3.0, 2.0])
    table = natsiou2023.verdict_table(
        box=box_plot(latents),
        ranks=agreement({"a": importance, "b": importance}),
        best_alone=importance,
        least_resilient=importance[::-1],
        mse=0.01,
        ssim=0.9,
        mean_image_mse=0.05,
    )
    here = dict(zip(table.column("statement"), table.column("here"), strict=True))
    assert here["Some latents hold tight values (fig. 4)"] == "1"
    assert here["Best with one latent enabled (fig. 5)"] == "0, 2, 3"
    assert here["Most important, taken together"] == "0, 2"
    assert here["Latents that lie far from 0 in every class (table 1)"] == "1"
    assert here["Methods agree"] == "1.00"
