"""experiments/map.py: its files, its server as strangers and as its own page ask it, and what it says to wrong wishes."""

from __future__ import annotations

import dataclasses
import http.client
import io
import json
import os
import shutil
import signal
import socket
import struct
import threading
import time

import numpy as np
import pytest
import soundfile

from experiments import map as map_program
from experiments.similar import as_text, similar
from tests.helpers.processes import start
from timbre_jax.generation.generate import generate
from timbre_jax.maps.generation_mode import MapPoints, open_map
from timbre_jax.maps.library import borrow_classes, cluster_names, read_library
from timbre_jax.maps.rendering import grid_points, make_sound, quick_space
from timbre_jax.maps.server import MapServer, open_server
from timbre_jax.maps.sound_map import load_map

pytestmark = pytest.mark.xdist_group("small_analysis")


@pytest.fixture(scope="module")
def made(pca_run, tmp_path_factory):
    """A map of all notes of the store, its folder and what made it."""
    out = tmp_path_factory.mktemp("map")
    return out, *map_program.make(pca_run, out, split="all", players=5, progress=False)


@pytest.fixture(scope="module")
def server(made):
    _, run, library, sound_map = made
    lines = []
    served = map_program.make_server(run.space, run, library, sound_map, port=0, log=lines.append)
    thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield served, lines
    served.shutdown()
    served.server_close()
    thread.join()


def ask(server: MapServer, path: str, *, method: str = "GET", **headers):
    """Status, headers and body; the Host header is the server's own unless given."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    connection.putrequest(method, path, skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders()
    answer = connection.getresponse()
    return answer.status, answer.headers, answer.read()


def test_everything_is_in_the_folder(made):
    out, _, library, sound_map = made
    assert sorted(path.name for path in out.iterdir()) == ["grid", "grid.png", "map.html", "map.json", "map.npz", "map.png"]
    assert len(list((out / "grid").glob("*.wav"))) == 100
    document = json.loads((out / "map.json").read_text())
    assert len(document["sounds"]) == len(library) == sum(map(library.store.length, library.store.splits))
    assert {sound["split"] for sound in document["sounds"]} == {"train", "valid", "test"}
    first = document["sounds"][3]
    row = int(np.flatnonzero(library.ids == first["id"])[0])
    np.testing.assert_allclose([first["x"], first["y"]], sound_map.coordinates[row])
    back = sound_map.inverse([[first["x"], first["y"]]])[0][0]
    np.testing.assert_array_equal(back, library.latents[row])
    tile = document["grid"][0]
    assert (tile["x"], tile["y"]) == pytest.approx((0.05, 0.95))
    assert (out / "map.html").read_text().count("data:audio/mpeg") == 5 + 100


def test_a_library_sound_is_read_from_the_right_split(made):
    _, _, library, _ = made
    for row in (0, 35, len(library) - 1):
        split = library.splits[row]
        position = int(np.flatnonzero(library.store.metadata(split)["id"] == library.ids[row])[0])
        recorded = library.store.audio(split, [position])[0]
        wave = library.audio(row)
        np.testing.assert_array_equal(wave, recorded[: len(wave)])


def test_the_same_map_is_not_made_twice(made):
    out, run, library, _ = made
    arguments = (out, run, library)
    assert map_program._made_before(*arguments, "kernel", {}, 0) is not None
    assert map_program._made_before(*arguments, "pca", {}, 0) is None
    assert map_program._made_before(*arguments, "kernel", {}, 1) is None


def test_a_map_that_is_used_again_belongs_to_the_run_as_it_is_now(pca_run, tmp_path):
    """After an update of the library the same latents may be of a space that is written otherwise."""
    _, _, first = map_program.make(pca_run, tmp_path, number=6, method="pca", progress=False)
    dataclasses.replace(first, settings={**first.settings, "space": "another"}).save(tmp_path / "map.npz")
    run, _, again = map_program.make(pca_run, tmp_path, number=6, method="pca", progress=False)
    np.testing.assert_array_equal(again.coordinates, first.coordinates)
    assert open_map(run.space, tmp_path)[0].settings["space"] == first.settings["space"]


def test_a_click_makes_the_sound_of_that_place(made, server):
    _, run, library, sound_map = made
    served, lines = server
    x, y = sound_map.coordinates[7].tolist()
    status, headers, body = ask(served, f"/sound?x={x!r}&y={y!r}")
    assert status == 200
    (length,) = struct.unpack("<I", body[:4])
    about = json.loads(body[4 : 4 + length])
    picture = body[4 + length : 4 + length + about["rows"] * about["columns"]]
    wave, rate = soundfile.read(io.BytesIO(body[4 + length + len(picture) :]))
    assert rate == run.space.sample_rate
    assert about["distance"] == 0.0
    assert about["near"][0] == 7
    expected = np.asarray(run.space.render(library.latents[7:8]))[0]
    np.testing.assert_allclose(wave, expected / max(np.abs(expected).max(), 1.0), atol=1e-4)
    assert max(picture) == 255
    assert sum(about["times"][name] for name in about["times"] if name != "total") == pytest.approx(about["times"]["total"])
    assert "synthesis" in lines[-1]
    assert headers["Cache-Control"] == "no-store"
    again = ask(served, f"/sound?x={x!r}&y={y!r}")[2]
    assert again[-len(wave) * 2 :] == body[-len(wave) * 2 :]


def test_library_sounds_and_the_page_are_served(made, server):
    _, _, library, _ = made
    status, headers, page = ask(server[0], "/")
    assert status == 200
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert library.ids[0].encode() in page
    status, headers, body = ask(server[0], "/library?i=2")
    assert (status, headers["Content-Type"]) == (200, "audio/wav")
    wave, _ = soundfile.read(io.BytesIO(body))
    np.testing.assert_allclose(wave, library.audio(2), atol=1e-4)
    status, headers, body = ask(server[0], "/", method="HEAD")
    assert (status, body, int(headers["Content-Length"])) == (200, b"", len(page))


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/sound?x=nan&y=0", 400, "x is a finite number"),
        ("/sound?x=0&y=inf", 400, "y is a finite number"),
        ("/sound?x=1e300&y=0", 400, "x lies in -1..2"),
        ("/sound?x=1e999&y=0", 400, "x lies in -1..2"),
        ("/sound?x=0", 400, "give y once"),
        ("/sound?x=0&x=1&y=0", 400, "give x once"),
        ("/sound?x=&y=0", 400, "x is a finite number"),
        ("/sound?x=1_0&y=0", 400, "x is a finite number"),
        ("/sound?x=" + "1" * 500 + "&y=0", 400, "x is a finite number"),
        ("/sound?" + "&".join(f"a{i}=1" for i in range(99)), 400, "cannot be read"),
        ("/library?i=5400", 400, "i lies in 0.."),
        ("/library?i=-1", 400, "i lies in 0.."),
        ("/library?i=0.5", 400, "whole number"),
        ("/../../etc/passwd", 404, "no such page"),
        ("/%2e%2e/%2e%2e/etc/passwd", 404, "no such page"),
        ("//127.0.0.1/", 404, "no such page"),
        ("/map.npz", 404, "no such page"),
    ],
)
def test_what_is_not_there_is_refused_in_one_line(server, path, status, message):
    found, headers, body = ask(server[0], path)
    assert (found, headers["Content-Type"]) == (status, "application/json")
    error = json.loads(body)["error"]
    assert message in error
    assert "\n" not in error
    assert len(error) < 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:{port}"},
        {"Host": "127.0.0.1.evil.example:{port}"},
        {"Host": "127.0.0.1:1"},
        {"Host": ""},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "https://127.0.0.1:{port}"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ],
)
@pytest.mark.parametrize("path", ["/", "/sound?x=0.5&y=0.5", "/library?i=0"])
def test_strangers_are_refused(server, headers, path):
    filled = {name: value.format(port=server[0].server_port) for name, value in headers.items()}
    status, _, body = ask(server[0], path, **filled)
    assert status == 403
    assert "answer" in json.loads(body)["error"]


def test_its_own_page_may_ask_by_both_names(server):
    port = server[0].server_port
    for name in ("127.0.0.1", "localhost"):
        own = {"Host": f"{name}:{port}", "Origin": f"http://{name}:{port}", "Sec_Fetch_Site": "same-origin"}
        assert ask(server[0], "/library?i=0", **own)[0] == 200
    assert server[0].server_address[0] == "127.0.0.1"
    assert ask(server[0], "/sound?x=0&y=0", method="POST")[0] == 405
    assert ask(server[0], "/", method="BREW")[0] == 501


def test_a_taken_port_is_not_shared(server):
    other = open_server("page", None, None, count=1, port=server[0].server_port)
    try:
        assert other.server_port != server[0].server_port
    finally:
        other.server_close()


def test_a_sound_that_fails_does_not_end_the_page():
    def broken(x, y):
        raise RuntimeError("no\nsound")

    server = MapServer("page", broken, broken, count=1, port=0, log=lambda line: None)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        status, _, body = ask(server, "/sound?x=0&y=0")
        assert (status, json.loads(body)["error"]) == (500, "this sound could not be made: no sound")
        assert ask(server, "/")[0] == 200
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_click_that_was_overtaken_is_not_made():
    """The browser closes its connection while an earlier sound is being made."""
    begun, go_on, asked = threading.Event(), threading.Event(), []

    def slow(x, y):
        asked.append(x)
        begun.set()
        go_on.wait(30)
        return {"times": {"total": 0.0}, "distance": 0.0}, b"", b""

    server = MapServer("page", slow, slow, count=1, port=0, log=lambda line: None)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        first = threading.Thread(target=ask, args=(server, "/sound?x=0&y=0"))
        first.start()
        assert begun.wait(30)
        with socket.create_connection(("127.0.0.1", server.server_port)) as second:
            second.sendall(f"GET /sound?x=0.5&y=0 HTTP/1.1\r\nHost: 127.0.0.1:{server.server_port}\r\n\r\n".encode())
        last = threading.Thread(target=ask, args=(server, "/sound?x=1&y=0"))
        last.start()
        time.sleep(0.3)
        go_on.set()
        first.join(30)
        last.join(30)
        assert asked == [0.0, 1.0]
    finally:
        go_on.set()
        server.shutdown()
        server.server_close()
        thread.join()


def test_serve_prints_where_it_is_and_ends_with_ctrl_c(made, pca_run):
    out = made[0]
    process = start(
        "experiments/map.py", f"--workdir={pca_run}", f"--out={out}", "--split=all", "--players=5", "--serve", "--port=0",
        "--noprogress",
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


def test_generate_takes_points_of_the_map(made, pca_run, mean_run, tmp_path):
    out, _, library, sound_map = made
    x, y = sound_map.coordinates[4].tolist()
    manifest = generate(pca_run, tmp_path / "a", MapPoints(map=str(out), at=f"{x!r},{y!r}; 0.9,5"))
    first, second = manifest["sounds"]
    np.testing.assert_array_equal(np.float32(first["latent"]), library.latents[4])
    assert first["made_from"]["distance"] == 0.0
    assert first["made_from"]["nearest_row"] == 4
    assert first["made_from"]["nearest"] == library.ids[4]
    assert "a guess" in second["remarks"][0]
    for at, message in (("0.1", "x,y;x,y"), ("nan,0", "finite"), ("a,b", "x,y;x,y"), ("", "needs --map")):
        with pytest.raises(ValueError, match=message):
            generate(pca_run, tmp_path / "b", MapPoints(map=str(out), at=at))
    with pytest.raises(ValueError, match="another space"):
        generate(mean_run, tmp_path / "b", MapPoints(map=str(out), at="0,0"))
    with pytest.raises(ValueError, match="there is no map"):
        generate(pca_run, tmp_path / "b", MapPoints(map=str(tmp_path), at="0,0"))
    assert not (tmp_path / "b").exists()


def test_similar_sounds_of_a_recording_are_itself_first(made, pca_run, tmp_path):
    _, run, library, _ = made
    file = tmp_path / "a note.wav"
    soundfile.write(file, library.audio(10), run.space.sample_rate, subtype="FLOAT")
    (tmp_path / "text.wav").write_text("no sound")
    found = similar(pca_run, [file, tmp_path / "text.wav"], out=tmp_path / "out", k=3, progress=False)
    (sound,) = found["sounds"]
    assert sound["similar"][0]["id"] == library.ids[10]
    assert sound["similar"][0]["distance"] < 0.01
    assert sound["class_of_similar"] == library.classes[10]
    assert len(found["errors"]) == 1
    assert len(list((tmp_path / "out" / "000_a_note").glob("*.wav"))) == 3
    assert json.loads((tmp_path / "out" / "similar.json").read_text())["sounds"] == found["sounds"]
    text = as_text(found)
    assert library.ids[10] in text
    assert "left out" in text
    with pytest.raises(ValueError, match=r"text\.wav"):
        similar(pca_run, [tmp_path / "text.wav"], progress=False)


def test_latents_of_a_large_library_are_kept(pca_run, small_store, tmp_path, monkeypatch):
    from timbre_jax.evaluation.runs import open_run
    from timbre_jax.maps import library as map_library

    workdir = tmp_path / "run"
    shutil.copytree(pca_run, workdir)
    run = open_run(workdir)
    monkeypatch.setattr(map_library, "KEPT_FROM", 10)
    monkeypatch.setattr(map_library, "BLOCK", 7)
    first = read_library(run, str(small_store), split="train", number=0, progress=False)
    np.testing.assert_allclose(first.latents, read_library(open_run(pca_run), str(small_store), number=0).latents, atol=1e-5)
    (kept,) = (workdir / "latents").iterdir()

    def unused(*_, **__):
        raise AssertionError("made again")

    monkeypatch.setattr(map_library, "feature_blocks", unused)
    again = read_library(run, str(small_store), split="train", number=8, progress=False)
    assert len(again) == 8
    rows = [first.ids.tolist().index(name) for name in again.ids]
    np.testing.assert_array_equal(again.latents, first.latents[rows])
    monkeypatch.undo()
    kept.write_bytes(kept.read_bytes()[:50])  # damaged: made again
    np.testing.assert_allclose(read_library(run, str(small_store), number=0, progress=False).latents, first.latents, atol=1e-5)


def test_names_are_borrowed_with_their_share(made, small_store, pca_run):
    _, run, library, sound_map = made
    train = read_library(run, str(small_store), split="train", progress=False)
    borrowed = borrow_classes(run, library, train)
    assert borrowed.agreement.min() > 0
    assert borrowed.agreement.max() <= 1
    assert np.mean(borrowed.classes == library.classes) > 0.6
    names = cluster_names(sound_map.coordinates, borrowed.classes)
    assert sum(name["count"] for name in names) == len(library)
    assert all(0 < name["share"] <= 1 for name in names)
    nameless = dataclasses.replace(train, classes=np.full(len(train), "unlabelled"))
    with pytest.raises(ValueError, match="no names to borrow"):
        borrow_classes(run, library, nameless)


def test_a_library_of_three_sounds_has_a_map(pca_run, tmp_path):
    _, library, sound_map = map_program.make(pca_run, tmp_path, number=3, method="umap", progress=False)
    assert len(library) == 3
    assert sound_map.settings["placed_by"] == "pca"
    assert "so few" in (tmp_path / "map.html").read_text()


def test_few_iterations_are_taken_only_where_needed(made):
    _, run, _, sound_map = made
    lines = []
    assert quick_space(run.space, sound_map, milliseconds=1e5, report=lines.append) is run.space
    assert "a sound takes" in lines[0]
    quick_space(run.space, sound_map, milliseconds=1e-3, report=lines.append)
    assert "slower than" in lines[-1]


def test_the_grid_goes_row_by_row_from_the_top_left():
    np.testing.assert_allclose(grid_points(2), [[0.25, 0.75], [0.75, 0.75], [0.25, 0.25], [0.75, 0.25]])


def test_sounds_are_made_at_finite_points_only(made):
    _, run, _, sound_map = made
    with pytest.raises(ValueError, match="finite"):
        make_sound(run.space, sound_map, float("nan"), 0.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "som"}, "one of kernel"),
        ({"split": "nothing"}, "no split 'nothing'"),
        ({"store": "/nowhere"}, "no such store"),
        ({"method": "pca", "perplexity": 3.0}, "has no setting perplexity"),
    ],
)
def test_wrong_wishes_are_one_line(pca_run, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        map_program.make(pca_run, tmp_path / "out", progress=False, **options)
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match="a map needs a folder"):
        map_program.make(pca_run, tmp_path / "file", progress=False)


def test_a_saved_map_is_the_one_in_use(made):
    out, _, _, sound_map = made
    np.testing.assert_array_equal(load_map(out / "map.npz").coordinates, sound_map.coordinates)
