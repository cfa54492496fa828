"""Tests of the programs that map libraries and find similar sounds."""

from __future__ import annotations

import http.client
import os
import signal

import numpy as np
import pytest

from experiments.map import given_flags
from tests.helpers.processes import start
from timbre_jax.generation.generate import generate
from timbre_jax.maps.generation_mode import MapPoints
from timbre_jax.maps.settings import MapSettings

pytestmark = pytest.mark.xdist_group("small_analysis")


def test_serve_prints_its_address_and_ends_with_ctrl_c(run_map, map_settings):
    process = start(
        "experiments/map.py", f"--workdir={map_settings.workdir}", f"--out={map_settings.out}", "--split=all", "--players=5",
        "--serve", "--port=0", "--noprogress",
    )  # fmt: skip
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("open http://127.0.0.1:"):
            break
    port = int(line.split(":")[2].split("/")[0])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/sound?x=0.3&y=0.6")
    assert connection.getresponse().status == 200
    os.kill(process.pid, signal.SIGINT)
    rest, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "stopped" in rest
    assert any("a sound takes" in line for line in lines)
    assert "(0.300, 0.600) distance" in rest
    assert not any(line.startswith("placing") for line in lines)


def test_next_command_repeats_the_flags_of_a_map():
    settings = MapSettings(workdir="runs/hits", out="map", split="all", number=0, progress=False)
    assert given_flags(settings) == ["--workdir=runs/hits", "--out=map", "--split=all", "--number=0"]


def test_similar_prints_the_nearest_sounds(run_map, map_settings):
    file = map_settings.out / "grid" / "grid_00_00.wav"
    process = start("experiments/similar.py", f"--workdir={map_settings.workdir}", f"--files={file}", "--k=2", "--noprogress")
    text, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert text.startswith(f"{file}: ")
    similar, after = text.split("Next:\n")
    assert len(similar.splitlines()) == 3
    assert after.startswith("  python experiments/generate.py --workdir=")


def test_sounds_are_generated_at_points_of_a_map(run_map, map_settings, pca_run, mean_run, tmp_path):
    out, library, sound_map = map_settings.out, run_map.library, run_map.sound_map
    x, y = sound_map.coordinates[4].tolist()
    manifest = generate(pca_run, tmp_path / "a", MapPoints(map=str(out), at=f"{x!r},{y!r}; 0.9,5"))
    first, second = manifest["sounds"]
    np.testing.assert_array_equal(np.float32(first["latent"]), library.latents[4])
    assert first["made_from"]["distance"] == 0.0
    assert first["made_from"]["nearest_row"] == 4
    assert first["made_from"]["nearest"] == library.ids[4]
    assert "extrapolated" in second["remarks"][0]
    for at, message in (("0.1", "x,y;x,y"), ("nan,0", "finite"), ("a,b", "x,y;x,y"), ("", "needs --map")):
        with pytest.raises(ValueError, match=message):
            generate(pca_run, tmp_path / "b", MapPoints(map=str(out), at=at))
    with pytest.raises(ValueError, match="another space"):
        generate(mean_run, tmp_path / "b", MapPoints(map=str(out), at="0,0"))
    with pytest.raises(ValueError, match="no such map"):
        generate(pca_run, tmp_path / "b", MapPoints(map=str(tmp_path), at="0,0"))
    assert not (tmp_path / "b").exists()
