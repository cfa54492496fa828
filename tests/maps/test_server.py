"""Tests of the server of a map: responses, refused requests, and overtaken clicks."""

from __future__ import annotations

import io
import json
import socket
import struct
import threading
import time

import numpy as np
import pytest
import soundfile

from tests.helpers.serving import ask, serving
from timbre_jax.maps.server import MapServer, _RequestFilter, map_server, open_server

pytestmark = pytest.mark.xdist_group("small_analysis")


@pytest.fixture(scope="module")
def server(run_map):
    lines = []
    with serving(map_server(run_map, run_map.run.space, port=0, log=lines.append)) as server:
        yield server, lines


def test_click_returns_the_sound_at_its_point(run_map, server):
    run, library, sound_map = run_map.run, run_map.library, run_map.sound_map
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
    repeated = ask(served, f"/sound?x={x!r}&y={y!r}")[2]
    assert repeated[-len(wave) * 2 :] == body[-len(wave) * 2 :]


def test_page_and_library_sounds_are_served(run_map, server):
    library = run_map.library
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
        ("/sound?x=nan&y=0", 400, "x must be a finite number"),
        ("/sound?x=0&y=inf", 400, "y must be a finite number"),
        ("/sound?x=1e300&y=0", 400, "x must be in -1..2"),
        ("/sound?x=1e999&y=0", 400, "x must be in -1..2"),
        ("/sound?x=0", 400, "y must be given once"),
        ("/sound?x=0&x=1&y=0", 400, "x must be given once"),
        ("/sound?x=&y=0", 400, "x must be a finite number"),
        ("/sound?x=1_0&y=0", 400, "x must be a finite number"),
        ("/sound?x=" + "1" * 500 + "&y=0", 400, "x must be a finite number"),
        ("/sound?" + "&".join(f"a{i}=1" for i in range(99)), 400, "too many fields"),
        ("/library?i=5400", 400, "i must be in 0.."),
        ("/library?i=-1", 400, "i must be in 0.."),
        ("/library?i=0.5", 400, "whole number"),
        ("/../../etc/passwd", 404, "unknown address"),
        ("/%2e%2e/%2e%2e/etc/passwd", 404, "unknown address"),
        ("//127.0.0.1/", 404, "unknown address"),
        ("/map.npz", 404, "unknown address"),
    ],
)
def test_invalid_requests_are_refused_in_one_line(server, path, status, message):
    returned, headers, body = ask(server[0], path)
    assert (returned, headers["Content-Type"]) == (status, "application/json")
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
def test_foreign_hosts_and_origins_are_refused(server, headers, path):
    filled = {name: value.format(port=server[0].port) for name, value in headers.items()}
    status, _, body = ask(server[0], path, **filled)
    assert status == 403
    assert "available" in json.loads(body)["error"]


def test_own_page_is_allowed_under_both_names(server):
    port = server[0].port
    for name in ("127.0.0.1", "localhost"):
        own = {"Host": f"{name}:{port}", "Origin": f"http://{name}:{port}", "Sec_Fetch_Site": "same-origin"}
        assert ask(server[0], "/library?i=0", **own)[0] == 200
    assert server[0].address == f"http://127.0.0.1:{port}/"
    assert ask(server[0], "/sound?x=0&y=0", method="POST")[0] == 405
    assert ask(server[0], "/", method="BREW")[0] == 501
    assert ask(server[0], "/", method="POST", Host="evil.example")[0] == 403


def test_server_listens_on_one_address_only(server):
    # All addresses of 127.0.0.0/8 belong to this machine, and the server uses one of them.
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", server[0].port), timeout=5)


def test_port_in_use_is_not_shared(server):
    other = open_server("page", None, None, count=1, port=server[0].port)
    assert other.port != server[0].port
    other.stop()
    # A server that was not started frees its port.
    MapServer("page", None, None, count=1, port=other.port).stop()


def test_failed_sound_does_not_stop_the_server():
    def broken(*_):
        raise RuntimeError("no\nsound")

    lines = []
    with serving(MapServer("page", broken, broken, count=1, port=0, log=lines.append)) as server:
        for path in ("/sound?x=0&y=0", "/library?i=0"):
            status, headers, body = ask(server, path)
            assert (status, json.loads(body)["error"]) == (500, "this sound could not be created: no sound")
            assert "no-store" in headers["Cache-Control"]
        assert ask(server, "/")[0] == 200
    assert lines[0] == "/sound?x=0&y=0: no sound"


def test_overtaken_click_is_skipped():
    # The browser closes its connection while an earlier sound is in progress.
    started, proceed, requested = threading.Event(), threading.Event(), []

    def slow(x, y):
        requested.append(x)
        started.set()
        proceed.wait(30)
        return {"times": {"total": 0.0}, "distance": 0.0}, b"", b""

    with serving(MapServer("page", slow, slow, count=1, port=0, log=lambda line: None)) as server:
        first = threading.Thread(target=ask, args=(server, "/sound?x=0&y=0"))
        first.start()
        assert started.wait(30)
        with socket.create_connection(("127.0.0.1", server.port)) as second:
            second.sendall(f"GET /sound?x=0.5&y=0 HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n\r\n".encode())
        last = threading.Thread(target=ask, args=(server, "/sound?x=1&y=0"))
        last.start()
        time.sleep(0.3)
        proceed.set()
        first.join(30)
        last.join(30)
        assert requested == [0.0, 1.0]


@pytest.mark.parametrize("port", [80, 8765])
def test_hosts_include_the_port_except_for_port_80(port):
    request_filter = _RequestFilter(None, port=port, log=print)
    assert ("localhost" in request_filter._own_hosts) == (port == 80)
    assert f"localhost:{port}" in request_filter._own_hosts
