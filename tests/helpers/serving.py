"""Servers of maps in a thread of the test, and requests to them."""

from __future__ import annotations

import contextlib
import http.client
import threading


@contextlib.contextmanager
def serving(server):
    """Runs a server during a block."""
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join()


def ask(server, path: str, *, method: str = "GET", **headers):
    """Requests a path and returns status, headers and body; the Host header can be replaced."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.putrequest(method, path, skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders()
    answer = connection.getresponse()
    return answer.status, answer.headers, answer.read()
