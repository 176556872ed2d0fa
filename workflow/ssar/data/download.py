"""Downloading one file: addresses in order, resumed where a connection was cut, checked before it counts as there."""

from __future__ import annotations

import email.utils
import re
import shutil
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests
import urllib3

from ssar.data.partial import Origin, Partial, alone
from ssar.data.signatures import HEAD, WEB_PAGE, archive_fault, is_archive, strange_start
from ssar.disk import is_full
from ssar.errors import UserError
from ssar.files import sha256 as sha256_of
from ssar.progress import Meter, note

BLOCK = 1 << 20
CONNECT_SECONDS = 20.0
# compressed on the way, a file would have neither its size nor its bytes
HEADERS = {"User-Agent": "ssar", "Accept-Encoding": "identity"}


@dataclass(frozen=True)
class Patience:
    """When a download tries again, and when it gives an address up. Times in seconds."""

    attempts: int = 6
    """Requests in a row that brought (nearly) nothing before an address is given up."""
    pause: float = 1.0
    """Before the second attempt; it doubles with each."""
    longest_pause: float = 60.0
    longest_wait: float = 600.0
    """The most that a server's Retry-After, or another process at the same file, is waited for."""
    silence: float = 60.0
    """Without a byte a connection is dropped."""
    window: float = 60.0
    slowest: float = 20_000.0
    """Bytes per second: a connection that is slower over a window is dropped, too."""


PATIENCE = Patience()


class UnavailableError(UserError):
    """No address gives the file; `failures` has a line for each."""

    def __init__(self, heading: str, failures: Sequence[str]) -> None:
        super().__init__(str(UserError.of(heading, failures)))
        self.failures = tuple(failures)


class _RefusedError(Exception):
    """An address that will not give the file, however often it is asked."""


class _TryAgainError(Exception):
    """A request that failed in a way that may pass."""

    def __init__(self, reason: object, wait: float | None = None, slow: bool = False) -> None:
        super().__init__(str(reason))
        self.wait, self.slow = wait, slow


@dataclass(frozen=True)
class _Wanted:
    """What is known of the file beforehand."""

    name: str
    sha256: str | None
    size: int | None

    def fault(self, path: Path) -> str | None:
        """What is wrong with a downloaded file."""
        found = path.stat().st_size
        if self.size is not None and found != self.size:
            return f"{found} bytes instead of {self.size}"
        if found == 0:
            return "the file is empty"
        if self.sha256 is None:
            return archive_fault(path, self.name)
        digest = sha256_of(path)
        return None if digest == self.sha256 else f"sha256 {digest} instead of {self.sha256}"


def fetch_file(
    urls: Sequence[str],
    path: Path,
    *,
    sha256: str | None = None,
    size: int | None = None,
    patience: Patience = PATIENCE,
    arrived: Callable[[str, Path], None] = lambda url, part: None,
) -> str:
    """Download one file from the first address that gives it; returns that address.

    A file that is there already is kept if it passes the checks; its address is then the first one. The bytes of an
    interrupted download stay in `path` + ".part" and are continued, if they are of the same version. A file without
    checksum must be what its name says: an archive is read to its end. `arrived` is called with the address and the
    checked file just before that gets its name.

    Raises UnavailableError that says for every address why it failed, and UserError where the disk is full.
    """
    wanted = _Wanted(path.name, sha256, size)
    with _storing(path), alone(path, patience.longest_wait, patience.pause):
        if path.exists():
            fault = wanted.fault(path)
            if fault is None:
                return urls[0]
            note(f"{path}: {fault}; it is fetched again")
        partial = Partial(path)
        failures = []
        for url in urls:
            problem = _obtain(url, partial, wanted, patience, last=url == urls[-1])
            if problem is None:
                arrived(url, partial.path)
                partial.publish(path)
                return url
            note(f"{path.name}: {url}: {problem}")
            failures.append(f"{url}: {problem}")
    raise UnavailableError(f"{path.name} cannot be downloaded; fetch it by hand to {path} if all else fails:", failures)


def stated_size(url: str) -> int | None:
    """The size that the server states for a file; None if it does not say, or does not answer."""
    try:
        with requests.head(url, headers=HEADERS, timeout=CONNECT_SECONDS, allow_redirects=True) as response:
            return _number(response.headers.get("Content-Length")) if response.ok else None
    except requests.RequestException:
        return None


def _obtain(url: str, partial: Partial, wanted: _Wanted, patience: Patience, last: bool) -> str | None:
    """Have the whole right file in `partial`, or say why not.

    Wrong bytes are fetched once more where that may help: they were put together from several answers, or no other
    address is left.
    """
    fault = None
    for _ in range(2):
        pieced = partial.size > 0
        try:
            _download(url, partial, wanted, patience)
        except _RefusedError as error:
            return str(error)
        before, fault = fault, wanted.fault(partial.path)
        if fault is None:
            return None
        partial.discard()
        if not (pieced or last):
            return fault
        if before is None:
            note(f"{wanted.name}: {fault}; it is fetched once more")
    return f"{fault}, fetched twice"


def _download(url: str, partial: Partial, wanted: _Wanted, patience: Patience) -> None:
    """Get all bytes into `partial`, going on after cuts as long as bytes arrive. Raises _RefusedError."""
    attempts = 0
    while True:
        before, start = partial.size, time.monotonic()
        try:
            _request(url, partial, wanted, patience)
            return
        except _TryAgainError as error:
            problem = error
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            problem = _TryAgainError(_plain(error))
        gained, seconds = partial.size - before, time.monotonic() - start
        useful = not problem.slow and gained > patience.slowest * seconds
        attempts = 1 if useful else attempts + 1
        if attempts == patience.attempts:
            raise _RefusedError(f"given up after {attempts} attempts: {problem}")
        pause = min(patience.pause * 2 ** (attempts - 1), patience.longest_pause)
        pause = pause if problem.wait is None else min(max(pause, problem.wait), patience.longest_wait)
        note(f"{wanted.name}: {problem}; trying again in {pause:.0f} s")
        time.sleep(pause)


def _request(url: str, partial: Partial, wanted: _Wanted, patience: Patience) -> None:
    """One request for the bytes that are still missing."""
    origin = partial.origin
    known = origin is not None and origin.url == url
    if partial.size and not known and wanted.sha256 is None:
        # without a checksum nothing tells that two addresses hold the same bytes
        partial.discard()
    start = partial.size
    total = wanted.size if wanted.size is not None else origin.total if origin and known else None
    if start and total is not None and start >= total:
        if start == total:
            return
        partial.discard()
        start = 0
    headers = dict(HEADERS)
    if start:
        headers["Range"] = f"bytes={start}-"
        if origin and known and origin.validator:
            headers["If-Range"] = origin.validator
    with _get(url, headers, patience) as response:
        if response.status_code == 416 and start:
            if response.headers.get("Content-Range", "").rpartition("/")[2] == str(start):
                return
            partial.discard()
            raise _TryAgainError("the partial file is longer than the server's; starting anew")
        start, total = _accept(url, response, partial, wanted, start)
        _receive(response, partial, wanted, start, total, patience)


def _get(url: str, headers: dict[str, str], patience: Patience) -> requests.Response:
    """The answer to one GET. Raises _RefusedError for an address that need not be asked again."""
    try:
        return requests.get(url, headers=headers, stream=True, timeout=(CONNECT_SECONDS, patience.silence))
    except requests.exceptions.SSLError as error:
        if (reason := _certificate(error)) is None:
            raise
        raise _RefusedError(
            f"the server's certificate is not valid ({reason}): its owner must renew it, or this machine lacks the "
            "certificate authority (a proxy's? then set REQUESTS_CA_BUNDLE to its file)"
        ) from None
    except (requests.exceptions.TooManyRedirects, ValueError) as error:  # requests' ValueErrors: what is no address
        raise _RefusedError(str(error)) from None


def _accept(
    url: str, response: requests.Response, partial: Partial, wanted: _Wanted, start: int
) -> tuple[int, int | None]:
    """Check an answer before its content is read; returns at which byte of how many the content starts."""
    code = response.status_code
    if code in (408, 425, 429) or code >= 500:
        raise _TryAgainError(f"HTTP {code} {response.reason}", _retry_after(response.headers.get("Retry-After")))
    if code not in (200, 206):
        raise _RefusedError(f"HTTP {code} {response.reason}")
    # an archive is told by its first bytes, whatever the server calls it
    page = response.headers.get("Content-Type", "").startswith("text/html")
    if page and not is_archive(wanted.name):
        raise _RefusedError(WEB_PAGE)
    length = _number(response.headers.get("Content-Length"))
    if code == 206:
        span = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        if span is None or int(span[1]) != start:
            partial.discard()
            raise _TryAgainError("the server sends other bytes than asked for; starting anew")
        total = _number(span[2])
        if _is_packed(response, wanted):
            partial.discard()
            raise _TryAgainError("the server sends a part of the compressed file; starting anew")
    else:
        if start:
            note(f"{wanted.name}: the server begins anew: it knows no ranges, or has another version now")
        start, total = 0, None if _is_packed(response, wanted) else length
    found = Origin(url, response.headers.get("ETag"), response.headers.get("Last-Modified"), total)
    if wanted.size is not None and total is not None and total != wanted.size:
        other = f"the server's file has {total} bytes, not {wanted.size}: another version"
        raise _RefusedError(WEB_PAGE if page else other)
    before = partial.origin
    if start and before is not None and before.url == url and before.differs(found):
        partial.discard()
        raise _TryAgainError("the server has another version now; starting anew")
    if not start:
        partial.begin(found)
    missing, free = (total or 0) - start, shutil.disk_usage(partial.path.parent).free
    if missing > free:
        raise UserError(
            f"{partial.path.parent}: {missing / 1e9:.3f} GB of {wanted.name} are still to download and "
            f"{free / 1e9:.3f} GB are free; make room, then give the same command again: it continues"
        )
    return start, total


def _is_packed(response: requests.Response, wanted: _Wanted) -> bool:
    """Whether a file comes compressed, though that was not asked for; with archives the word is for the archive."""
    return response.headers.get("Content-Encoding", "identity") != "identity" and not is_archive(wanted.name)


def _receive(
    response: requests.Response, partial: Partial, wanted: _Wanted, start: int, total: int | None, patience: Patience
) -> None:
    """Append the content of an answer, from byte `start` of `total` on."""
    head = None if start else b""
    done = start
    since, then = time.monotonic(), start
    try:
        with (
            open(partial.path, "ab" if start else "wb") as file,
            Meter((total or 0) // BLOCK, f"{wanted.name} (MB)", start // BLOCK) as meter,
        ):
            # not `read`, which waits for a full block however slowly it trickles in
            while block := response.raw.read1(BLOCK, decode_content=_is_packed(response, wanted)):
                file.write(block)
                done += len(block)
                if head is not None and len(head) < HEAD:
                    head += block
                    if len(head) >= HEAD:
                        _refuse_strange(head, partial, wanted)
                if done // BLOCK > meter.done:
                    meter.advance(done // BLOCK - meter.done)
                if (seconds := time.monotonic() - since) >= patience.window:
                    if (speed := (done - then) / seconds) < patience.slowest:
                        raise _TryAgainError(f"only {speed:.0f} bytes a second", slow=True)
                    since, then = time.monotonic(), done
    except OSError as error:
        if is_full(error):
            raise
        raise _TryAgainError(_plain(error)) from None
    if total is not None and done < total:
        raise _TryAgainError(f"the connection was cut at {done} of {total} bytes")
    if head:
        _refuse_strange(head, partial, wanted)


def _refuse_strange(head: bytes, partial: Partial, wanted: _Wanted) -> None:
    """Raise _RefusedError for an answer that is another kind of file by its first bytes."""
    if problem := strange_start(wanted.name, head[:HEAD]):
        partial.discard()
        raise _RefusedError(problem)


@contextmanager
def _storing(path: Path) -> Iterator[None]:
    """Tell what the disk refuses. A full one loses nothing: what has arrived is continued."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        if not is_full(error):
            raise UserError(f"{error.filename or path}: {error.strerror or error}") from None
        kept = Partial(path).size
        raise UserError(
            f"{path}: {error.strerror} after {kept / 1e9:.3f} GB, which are kept; make room, then give the same "
            "command again: it continues"
        ) from None


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() else None


def _retry_after(text: str | None) -> float | None:
    """Seconds that a server asks to wait: a number, or until a date."""
    if text is None:
        return None
    if text.strip().isdecimal():
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None


def _certificate(error: BaseException | None) -> str | None:
    """Why a certificate was refused, if that is what an error is about."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return str(error.verify_message)
        error = error.__cause__ or error.__context__
    return None


def _plain(error: BaseException) -> str:
    """The reason of a failed connection, without the objects that requests and urllib3 print around it."""
    for known, text in (
        (requests.exceptions.ConnectTimeout, "the server does not answer"),
        ((requests.exceptions.ReadTimeout, urllib3.exceptions.ReadTimeoutError), "the server has fallen silent"),
    ):
        if isinstance(error, known):
            return text
    inner: BaseException = error
    while (deeper := inner.__cause__ or inner.__context__) is not None:
        inner = deeper
    where = "the proxy that the environment names: " if isinstance(error, requests.exceptions.ProxyError) else ""
    return where + (str(inner) or type(inner).__name__)
