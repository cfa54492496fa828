"""The local page of a map: a click anywhere asks for a new sound. Python's own http server, for one person on one machine.

Starlette with uvicorn was considered: the page needs three addresses, no framework, and the way through this server costs
about a millisecond of a click; so the library is spared two dependencies.

What it refuses, in one clear line each: another Host than its own (a foreign name that was made to point here, "DNS
rebinding": 403), a request that another site's page makes (403), an address it does not have (404), coordinates or numbers
that are none or out of range (400), any other method than GET and HEAD (405 or 501). It listens on 127.0.0.1 only.
"""

from __future__ import annotations

import errno
import json
import math
import re
import select
import socket
import struct
import threading
import time
import urllib.parse
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HOST = "127.0.0.1"
NAMES = ("127.0.0.1", "localhost")
REACH = 1.0
"""How far outside the map's 0..1 a point may be asked for."""
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; "
    "media-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Refused(ValueError):
    """A request that is answered with an error: status and one line."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


class MapServer(ThreadingHTTPServer):
    """Serves one page and its sounds.

    Args:
      page: the document.
      sound: (x, y) -> what is to be said of the sound (JSON), its picture and its wav as bytes.
      library: row -> wav bytes of a library sound. count: how many rows there are.
      port: 0 takes any free one. log: takes a line for each sound made.

    Raises:
      OSError: the port is taken.
    """

    daemon_threads = True
    # The address is not shared with a server that still runs, yet free again at once after one has ended.
    allow_reuse_address = True

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
        self.page, self.sound, self.library, self.count, self.log = page.encode(), sound, library, count, log
        self.lock = threading.Lock()
        super().__init__((HOST, port), _Handler)

    @property
    def address(self) -> str:
        """What to open in a browser."""
        return f"http://{HOST}:{self.server_port}/"

    def handle_error(self, request, client_address):
        """A browser that went away in the middle is no news."""


def open_server(*arguments, port: int, **options) -> MapServer:
    """A `MapServer` on the port, or on any free one where that is taken."""
    try:
        return MapServer(*arguments, port=port, **options)
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise
        return MapServer(*arguments, port=0, **options)


def number_of(query: dict[str, list[str]], name: str, *, low: float, high: float) -> float:
    """One finite number of a query within [low, high].

    Raises:
      Refused: 400, saying what is wrong.
    """
    values = query.get(name, [])
    if len(values) != 1:
        raise Refused(400, f"give {name} once, a number")
    text = values[0]
    # float() would also take "1_0", " 1" and "infinity".
    if len(text) > 40 or not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text, re.ASCII):
        raise Refused(400, f"{name} is a finite number, not {text[:40]!r}")
    value = float(text)
    if not (math.isfinite(value) and low <= value <= high):
        raise Refused(400, f"{name} lies in {low:g}..{high:g}, not at {text[:40]}")
    return value


class _Handler(BaseHTTPRequestHandler):
    server: MapServer
    protocol_version = "HTTP/1.1"
    # Small answers at once, not after Nagle's 40 ms.
    disable_nagle_algorithm = True
    wbufsize = -1
    timeout = 60
    server_version, sys_version = "timbre_jax", ""

    def do_GET(self):
        try:
            kind, body = self._answer()
            self._send(200, kind, body)
        except Refused as error:
            self._refuse(error.status, str(error))
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        except Exception as error:  # one sound that fails must not end the page
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            self.server.log(f"{self.path[:80]}: {reason}")
            self._refuse(500, f"this sound could not be made: {reason}")

    do_HEAD = do_GET

    def do_POST(self):
        # The body is not read: the connection cannot be used again.
        self.close_connection = True
        self._refuse(405, "only GET is understood here")

    do_PUT = do_DELETE = do_OPTIONS = do_PATCH = do_POST

    def _answer(self) -> tuple[str, bytes]:
        self._check_origin()
        try:
            parts = urllib.parse.urlsplit(self.path)
            query = urllib.parse.parse_qs(parts.query, keep_blank_values=True, max_num_fields=8)
        except ValueError:
            raise Refused(400, "this address cannot be read") from None
        if self.path.startswith("/") and not self.path.startswith("//"):
            if parts.path == "/":
                return "text/html; charset=utf-8", self.server.page
            if parts.path == "/sound":
                x, y = (number_of(query, name, low=-REACH, high=1 + REACH) for name in ("x", "y"))
                return "application/octet-stream", self._sound(x, y)
            if parts.path == "/library":
                row = number_of(query, "i", low=0, high=self.server.count - 1)
                if row != int(row):
                    raise Refused(400, f"i is a whole number, not {row:g}")
                with self.server.lock:
                    return "audio/wav", self.server.library(int(row))
        raise Refused(404, "there is no such page here; the map is at /")

    def _check_origin(self) -> None:
        port = self.server.server_port
        own = {f"{name}:{port}" for name in NAMES} | (set(NAMES) if port == 80 else set())
        host = self.headers.get_all("Host") or []
        if len(host) != 1 or host[0].lower() not in own:
            raise Refused(403, f"this page answers at {self.server.address} only, not for {', '.join(host)[:60]!r}")
        origin = self.headers.get("Origin")
        if origin is not None and origin.lower() not in {f"http://{name}" for name in own}:
            raise Refused(403, "this page does not answer other sites")
        # Browsers say who asks; a page of another site may not, not even without reading the answer.
        if self.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
            raise Refused(403, "this page does not answer other sites")

    def _sound(self, x: float, y: float) -> bytes:
        began = time.perf_counter()
        with self.server.lock:
            if self._gave_up():
                raise BrokenPipeError
            about, picture, wav = self.server.sound(x, y)
        # One answer: the length of a JSON text, the text, the picture, the wav.
        text = json.dumps(about, allow_nan=False).encode()
        body = struct.pack("<I", len(text)) + text + picture + wav
        detail = ", ".join(f"{name} {value:.1f}" for name, value in about["times"].items() if name != "total")
        whole = 1e3 * (time.perf_counter() - began)
        self.server.log(f"({x:.3f}, {y:.3f}) distance {about['distance']:.3f}: {whole:.0f} ms ({detail})")
        return body

    def _gave_up(self) -> bool:
        """Whether the browser has closed the connection meanwhile, as it does for a click that a later one has overtaken."""
        watched = select.poll()  # which, unlike select(), takes any number of open files
        watched.register(self.connection, select.POLLIN)
        return bool(watched.poll(0)) and not self.connection.recv(1, socket.MSG_PEEK)

    def _refuse(self, status: int, message: str) -> None:
        try:
            self._send(status, "application/json", json.dumps({"error": message}).encode())
        except OSError:
            self.close_connection = True

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Content-Security-Policy", _POLICY)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, *_):
        """The server's log is its own lines, one for each sound."""
