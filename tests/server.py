"""A web server on this machine that serves bytes from memory, and misbehaves as told."""

from __future__ import annotations

import contextlib
import http.server
import ssl
import threading
import time
import urllib.parse
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Answer:
    """What is sent for one request. Acts change it."""

    status: int
    headers: dict[str, str]
    body: bytes
    stop: int | None = None
    """Bytes of the body after which the connection is closed."""
    silent: bool = False
    """Whether the connection stays open there without another byte."""
    rate: float | None = None
    """Bytes per second."""


Act = Callable[[Answer], None]


def status(code: int, **headers: str) -> Act:
    """Only a status, e.g. `status(503, Retry_After="1")`."""

    def act(answer: Answer) -> None:
        answer.status, answer.body = code, b"sorry"
        answer.headers = {key.replace("_", "-"): value for key, value in headers.items()} | {"Content-Length": "5"}

    return act


def cut(share: float = 0.5) -> Act:
    """Close the connection after a share of the body."""

    def act(answer: Answer) -> None:
        answer.stop = int(len(answer.body) * share)

    return act


def stall(share: float = 0.5) -> Act:
    """Fall silent after a share of the body."""

    def act(answer: Answer) -> None:
        answer.stop, answer.silent = int(len(answer.body) * share), True

    return act


def trickle(rate: float) -> Act:
    """Send so many bytes a second."""

    def act(answer: Answer) -> None:
        answer.rate = rate

    return act


def flip(place: float = 0.5) -> Act:
    """Send one wrong bit."""

    def act(answer: Answer) -> None:
        at = int(len(answer.body) * place)
        answer.body = answer.body[:at] + bytes([answer.body[at] ^ 1]) + answer.body[at + 1 :]

    return act


def page(kind: str = "text/html; charset=utf-8") -> Act:
    """A web page with status 200, as of a login or a "file not found"."""

    def act(answer: Answer) -> None:
        answer.status, answer.body = 200, b"<!DOCTYPE html>\n<html><body>Please log in</body></html>" + b" " * 600
        answer.headers = {"Content-Type": kind, "Content-Length": str(len(answer.body))}

    return act


def shorter(count: int) -> Act:
    """Send and state fewer bytes than there are."""

    def act(answer: Answer) -> None:
        answer.body = answer.body[:-count]
        answer.headers["Content-Length"] = str(len(answer.body))

    return act


def without_length(answer: Answer) -> None:
    """Do not state the length; the end of the connection ends the body."""
    del answer.headers["Content-Length"]


@dataclass
class Request:
    method: str
    path: str
    span: str | None
    condition: str | None


@dataclass
class State:
    files: dict[str, bytes] = field(default_factory=dict)
    """Content by path, e.g. /videos.zip."""
    tags: dict[str, str] = field(default_factory=dict)
    """ETag by path."""
    acts: dict[str, list[Act]] = field(default_factory=lambda: defaultdict(list))
    """By path: what happens to the next answers to GET, one each."""
    always: dict[str, Act] = field(default_factory=dict)
    """By path: what happens to all answers after these."""
    claims: dict[str, int] = field(default_factory=dict)
    """By path: a wrong size that is stated."""
    ranges: bool = True
    log: list[Request] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0


class Server(http.server.ThreadingHTTPServer):
    """Serves `state.files`."""

    daemon_threads = True

    def __init__(self, certificate: Path | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.state, self.lock, self.over = State(), threading.Lock(), threading.Event()
        self.scheme = "http"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.socket = context.wrap_socket(self.socket, server_side=True)
            self.scheme = "https"

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that are killed close their connections."""

    def url(self, path: str) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server_address[1]}{path}"

    def got(self, path: str, method: str = "GET") -> list[str | None]:
        """The ranges of the requests for a path so far."""
        return [request.span for request in self.state.log if (request.method, request.path) == (method, path)]


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        state = self.server.state
        with self.server.lock:
            state.at_once += 1
            state.most_at_once = max(state.most_at_once, state.at_once)
        try:
            self._answer(with_body=True)
        finally:
            with self.server.lock:
                state.at_once -= 1

    def _answer(self, with_body: bool) -> None:
        state, path = self.server.state, urllib.parse.unquote(self.path)
        span, condition = self.headers.get("Range"), self.headers.get("If-Range")
        state.log.append(Request(self.command, path, span, condition))
        answer = self._found(path, span if state.ranges else None, condition)
        if with_body:
            acts = state.acts[path]
            act = acts.pop(0) if acts else state.always.get(path)
            if act is not None:
                act(answer)
        self.send_response(answer.status)
        for key, value in answer.headers.items():
            self.send_header(key, value)
        self.end_headers()
        if with_body:
            self._send(answer)

    def _found(self, path: str, span: str | None, condition: str | None) -> Answer:
        state = self.server.state
        content, tag = state.files.get(path), state.tags.get(path)
        if content is None:
            return Answer(404, {"Content-Length": "9"}, b"not found")
        headers = {"ETag": tag} if tag else {}
        if span is None or (condition is not None and condition != tag):
            size = state.claims.get(path, len(content))
            return Answer(200, headers | {"Content-Length": str(size)}, content)
        start = int(span.removeprefix("bytes=").removesuffix("-"))
        if start >= len(content):
            return Answer(416, headers | {"Content-Range": f"bytes */{len(content)}", "Content-Length": "0"}, b"")
        headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        return Answer(206, headers | {"Content-Length": str(len(content) - start)}, content[start:])

    def _send(self, answer: Answer) -> None:
        body = answer.body if answer.stop is None else answer.body[: answer.stop]
        if answer.rate is None:
            self.wfile.write(body)
        else:
            step = max(1, int(answer.rate / 100))
            for place in range(0, len(body), step):
                self.wfile.write(body[place : place + step])
                time.sleep(step / answer.rate)
        if answer.silent:
            self.server.over.wait(30)

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def serving(certificate: Path | None = None) -> Iterator[Server]:
    """A server that answers until the block ends."""
    server = Server(certificate)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        server.server_close()
