"""Tests of the data of Natsiou et al. 2023 and of comparisons with them."""

from __future__ import annotations

import numpy as np
import pytest

from timbre_jax.analysis import natsiou2023
from timbre_jax.analysis.agreement import agreement
from timbre_jax.analysis.statistics import box_plot, class_statistics


def test_table_1_agrees_with_the_statements_of_the_paper():
    means = {name: mean for name, (mean, _) in natsiou2023.TABLE_1.items()}
    assert len(means) == 9
    assert {len(part) for pair in natsiou2023.TABLE_1.values() for part in pair} == {8}
    # "if the value of the feature 2 is 4, the instrument will be more probably a flute"; it is above 2.7 in every class.
    assert max(means, key=lambda name: means[name][2]) == "flute"
    assert min(mean[2] for mean in means.values()) == 2.71


def test_separation_is_independent_of_latent_order():
    generator = np.random.default_rng(0)
    labels = np.arange(90) % 3
    latents = generator.standard_normal((90, 4)) + labels[:, None] * [0, 3, 1, 0]
    one = natsiou2023.separation_table(class_statistics(latents, labels))
    other = natsiou2023.separation_table(class_statistics(latents[:, [2, 0, 3, 1]], labels))
    assert one.column("this run")[:4] == pytest.approx(other.column("this run")[:4])
    assert one.column("this run")[0] > 0.8
    assert np.isnan(one.column("this run")[4:]).all()
    assert len(one.column("paper")) == 8


def test_verdict_table_lists_latents_of_this_run():
    latents = np.random.default_rng(1).standard_normal((100, 4)) * [1, 0.1, 1, 1] + [0, 5, 0, 0]
    importance = np.array([4.0, 1.0, 3.0, 2.0])
    table = natsiou2023.statement_table(
        box=box_plot(latents),
        ranks=agreement({"a": importance, "b": importance}),
        best_alone=importance,
        least_resilient=importance[::-1],
        mse=0.01,
        ssim=0.9,
        mean_image_mse=0.05,
    )
    values = dict(zip(table.column("statement"), table.column("this run"), strict=True))
    assert values["Latents with a narrow distribution (fig. 4)"] == "1"
    assert values["Best latents when enabled alone (fig. 5)"] == "0, 2, 3"
    assert values["Most important latents overall"] == "0, 2"
    assert values["Latents far from 0 in every class (table 1)"] == "1"
    assert values["Agreement of the methods"] == "1.00"
