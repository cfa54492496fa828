"""Tests of the search for similar sounds."""

from __future__ import annotations

import json

import pytest
import soundfile

from timbre_jax.maps.similar import SimilarSettings, find_similar, similar_text

pytestmark = pytest.mark.xdist_group("small_analysis")


def test_most_similar_sound_of_a_recording_is_itself(run_map, pca_run, tmp_path):
    run, library = run_map.run, run_map.library
    file = tmp_path / "a note.wav"
    soundfile.write(file, library.audio(10), run.space.sample_rate, subtype="FLOAT")
    (tmp_path / "text.wav").write_text("no sound")
    files = (file, tmp_path / "text.wav")
    result = find_similar(SimilarSettings(pca_run, files, out=tmp_path / "out", k=3, progress=False))
    (sound,) = result["sounds"]
    assert sound["similar"][0]["id"] == library.ids[10]
    assert sound["similar"][0]["distance"] < 0.01
    assert sound["class_of_similar"] == library.classes[10]
    assert len(result["errors"]) == 1
    assert len(list((tmp_path / "out" / "000_a_note").glob("*.wav"))) == 3
    assert json.loads((tmp_path / "out" / "similar.json").read_text())["sounds"] == result["sounds"]
    text = similar_text(result)
    assert library.ids[10] in text
    assert "skipped" in text
    with pytest.raises(ValueError, match=r"text\.wav"):
        find_similar(SimilarSettings(pca_run, files[1:], progress=False))
    with pytest.raises(ValueError, match="give --files"):
        find_similar(SimilarSettings(pca_run, ()))
    with pytest.raises(ValueError, match="is a file; give a folder"):
        find_similar(SimilarSettings(pca_run, files, out=file))
