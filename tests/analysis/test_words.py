"""Tests of names and numbers in words."""

from __future__ import annotations

import numpy as np

from timbre_jax.analysis.words import describe_sounds, distinct_labels, plain_words


def test_plain_words_capitalize_acronyms_of_registry_names():
    assert plain_words("pca_8") == "PCA 8"
    assert plain_words("vq_vae") == "VQ VAE"


def test_describe_sounds_counts_sounds_and_groups():
    assert describe_sounds({"instrument": np.array(["a", "a"])}, "notes", "instrument") == "2 notes of 1 instrument"
    assert describe_sounds({"instrument": np.array(["a", "b"])}, "sounds", "recording") == "2 sounds of 2 recordings"


def test_labels_of_distinct_numbers_differ():
    assert distinct_labels(np.array([-1.04, 0.0, 2.5])) == ["-1.0", "+0.0", "+2.5"]
    assert distinct_labels(np.array([0.01, 0.02, 0.03])) == ["+0.01", "+0.02", "+0.03"]
    assert len(set(distinct_labels(np.zeros(5)))) == 5
