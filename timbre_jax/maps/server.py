"""Local server of the page of a map, on which a click creates a new sound.

The server is a Starlette application in uvicorn for one person on one machine. It listens on 127.0.0.1 only and refuses another
Host header (DNS rebinding: 403), requests from pages of other sites (403), unknown addresses (404), coordinates and rows that
are invalid or out of range (400), and methods other than GET and HEAD (405 or 501).
"""

from __future__ import annotations

import asyncio
import errno
import functools
import http
import json
import math
import re
import socket
import struct
import time
from collections.abc import Callable

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from timbre_jax.maps.library import RunMap
from timbre_jax.maps.page import run_page
from timbre_jax.maps.rendering import make_sound, space_within_budget
from timbre_jax.maps.settings import ServeSettings
from timbre_jax.report.players import wav_bytes
from timbre_jax.space import TimbreSpace

HOST = "127.0.0.1"
NAMES = ("127.0.0.1", "localhost")
REACH = 1.0
"""Distance outside [0, 1] up to which points are allowed."""
MAX_QUERY_FIELDS = 8
HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; "
        "media-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
}


def serve_map(run_map: RunMap, settings: ServeSettings) -> None:
    """Serves the page of a map until Ctrl-C."""
    report = functools.partial(print, flush=True)
    report("compiling the decoder ...")
    space = space_within_budget(run_map.run.space, run_map.sound_map, milliseconds=settings.click_ms, report=report)
    server = map_server(run_map, space, port=settings.port, log=report)
    if settings.port and server.port != settings.port:
        report(f"--port={settings.port}: is in use; another port was chosen")
    report(f"open {server.address} in a browser; press Ctrl-C to stop")
    try:
        server.serve()
    except KeyboardInterrupt:
        report("\nstopped")


def map_server(run_map: RunMap, space: TimbreSpace, *, port: int, log: Callable[[str], None]) -> MapServer:
    """Creates the server of a map, which is bound to its port and does not serve yet.

    Args:
      run_map: map of a run.
      space: space that decodes the new sounds.
      port: port; any free port if it is 0 or in use.
      log: called with a line for each new sound.
    """
    library = run_map.library

    def sound(x: float, y: float) -> tuple[dict, bytes, bytes]:
        created = make_sound(space, run_map.sound_map, x, y)
        rows, columns = created.picture.shape
        metadata = {
            "rows": rows,
            "columns": columns,
            "near": created.near,
            "distance": created.distance,
            "times": created.times,
        }
        return metadata | {"name": f"map_{x:.4f}_{y:.4f}.wav"}, created.picture.tobytes(), created.wav

    def recorded(row: int) -> bytes:
        return wav_bytes(library.audio(row), library.store.sample_rate)

    return open_server(run_page(run_map, served=True), sound, recorded, count=len(library), port=port, log=log)


class MapServer:
    """Server of the page of a map and its sounds.

    A request whose connection is closed by a later click is skipped.

    Args:
      page: HTML of the page.
      sound: function of (x, y) that returns metadata with "times" and "distance" for JSON, the spectrogram and the wav file.
      library: function of a row that returns the wav file of a library sound.
      count: number of library sounds.
      port: port; 0 for any free port.
      log: called with a line for each new sound.

    Attributes:
      port: the port that the server is bound to.

    Raises:
      OSError: the port is in use.
    """

    def __init__(
        self,
        page: str,
        sound: Callable[[float, float], tuple[dict, bytes, bytes]],
        library: Callable[[int], bytes],
        *,
        count: int,
        port: int = 0,
        log: Callable[[str], None] = print,
    ):
        self._document, self._make_sound, self._recorded, self._count, self._log = page, sound, library, count, log
        self._lock = asyncio.Lock()
        # SO_REUSEADDR frees the port as soon as a server ends; a port in use is not shared.
        self._socket = socket.create_server((HOST, port))
        self.port: int = self._socket.getsockname()[1]
        application = Starlette(
            routes=[Route("/", self._page), Route("/sound", self._sound), Route("/library", self._library)],
            middleware=[Middleware(_RequestFilter, port=self.port, log=log)],
            exception_handlers={HTTPException: _error_response},
        )
        application.router.redirect_slashes = False
        config = uvicorn.Config(
            application, loop="asyncio", http="h11", ws="none", lifespan="off", proxy_headers=False, server_header=False,
            access_log=False, log_config=None, log_level="critical", timeout_keep_alive=60,
        )  # fmt: skip
        self._server = uvicorn.Server(config)

    @property
    def address(self) -> str:
        """Address to open in a browser."""
        return f"http://{HOST}:{self.port}/"

    def serve(self) -> None:
        """Answers requests until `stop` is called from another thread or Ctrl-C is pressed."""
        self._server.run(sockets=[self._socket])

    def stop(self) -> None:
        """Ends `serve`, or frees the port if `serve` was not called."""
        self._server.should_exit = True
        if not self._server.started:
            self._socket.close()

    async def _page(self, request: Request) -> Response:
        return HTMLResponse(self._document)

    async def _sound(self, request: Request) -> Response:
        x, y = (query_number(request, name, low=-REACH, high=1 + REACH) for name in ("x", "y"))
        start = time.perf_counter()
        async with self._lock:
            if await request.is_disconnected():
                return Response(status_code=499)  # the browser has closed the connection
            metadata, picture, wav = await run_in_threadpool(self._make_sound, x, y)
        detail = ", ".join(f"{name} {value:.1f}" for name, value in metadata["times"].items() if name != "total")
        total_ms = 1e3 * (time.perf_counter() - start)
        self._log(f"({x:.3f}, {y:.3f}) distance {metadata['distance']:.3f}: {total_ms:.0f} ms ({detail})")
        # The response is the length of a JSON text, the text, the spectrogram and the wav file.
        text = json.dumps(metadata, allow_nan=False).encode()
        return Response(struct.pack("<I", len(text)) + text + picture + wav, media_type="application/octet-stream")

    async def _library(self, request: Request) -> Response:
        row = query_number(request, "i", low=0, high=self._count - 1)
        if row != int(row):
            raise HTTPException(400, f"i must be a whole number (got {row:g})")
        async with self._lock:
            return Response(await run_in_threadpool(self._recorded, int(row)), media_type="audio/wav")


def open_server(*arguments, port: int, **options) -> MapServer:
    """Returns a `MapServer` on the port, or on any free port if it is in use."""
    try:
        return MapServer(*arguments, port=port, **options)
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise
        return MapServer(*arguments, port=0, **options)


def query_number(request: Request, name: str, *, low: float, high: float) -> float:
    """Returns a finite number from the query of a request.

    Args:
      request: the request.
      name: name of the number.
      low: smallest allowed number.
      high: largest allowed number.

    Raises:
      HTTPException: 400 with the reason, if there is no such number.
    """
    if len(request.query_params.multi_items()) > MAX_QUERY_FIELDS:
        raise HTTPException(400, "the query has too many fields")
    values = request.query_params.getlist(name)
    if len(values) != 1:
        raise HTTPException(400, f"{name} must be given once, as a number")
    text = values[0]
    # float() also accepts "1_0", " 1" and "infinity".
    if len(text) > 40 or not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text, re.ASCII):
        raise HTTPException(400, f"{name} must be a finite number (got {text[:40]!r})")
    value = float(text)
    if not (math.isfinite(value) and low <= value <= high):
        raise HTTPException(400, f"{name} must be in {low:g}..{high:g} (got {text[:40]})")
    return value


class _RequestFilter:
    """Middleware that refuses foreign requests, adds `HEADERS` and reports errors in one line."""

    def __init__(self, app: ASGIApp, *, port: int, log: Callable[[str], None]):
        self._app, self._log, self._port = app, log, port
        self._own_hosts = {f"{name}:{port}" for name in NAMES} | (set(NAMES) if port == 80 else set())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        request = Request(scope)
        try:
            self._check(request)
            await self._app(scope, receive, send_with_headers)
        except HTTPException as error:
            await (await _error_response(request, error))(scope, receive, send_with_headers)
        except Exception as error:  # a failed sound must not stop the server
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            self._log(f"{request.url.path}?{request.url.query}"[:80] + f": {reason}")
            await _json_error(500, f"this sound could not be created: {reason}")(scope, receive, send_with_headers)

    def _check(self, request: Request) -> None:
        hosts = request.headers.getlist("Host")
        if len(hosts) != 1 or hosts[0].lower() not in self._own_hosts:
            address = f"http://{HOST}:{self._port}/"
            raise HTTPException(403, f"this page is available at {address} only (got host {', '.join(hosts)[:60]!r})")
        origin = request.headers.get("Origin")
        foreign = origin is not None and origin.lower() not in {f"http://{name}" for name in self._own_hosts}
        # Browsers send the origin of a request; pages of other sites are refused even if they cannot read the response.
        if foreign or request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
            raise HTTPException(403, "this page is not available to other sites")
        if request.method not in ("GET", "HEAD"):
            known = request.method in http.HTTPMethod.__members__
            raise HTTPException(405 if known else 501, "only GET and HEAD are supported")


async def _error_response(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    unknown = error.status_code == 404
    return _json_error(error.status_code, "unknown address; the map is at /" if unknown else error.detail)


def _json_error(status: int, message: str) -> Response:
    return JSONResponse({"error": message}, status)
