"""Downloading one file: mirrors in order, resumed where a connection was cut, checked."""

from __future__ import annotations

import http.client
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from ssar.errors import UserError
from ssar.files import sha256 as sha256_of
from ssar.progress import Meter, note

BLOCK = 1 << 20
TIMEOUT_SECONDS = 60
ATTEMPTS = 5
PAUSE_SECONDS = 1.0
USER_AGENT = "ssar"


class _RefusedError(Exception):
    """A mirror that will not give the file, however often it is asked."""


def fetch_file(urls: Sequence[str], path: Path, *, sha256: str | None = None, size: int | None = None) -> str:
    """Download one file from the first address that gives it; returns that address.

    A file that is there already is kept if it passes the checks; its address is then the first one. The bytes of an
    interrupted download stay in `path` + ".part" and are continued.

    Raises UserError that says for every address why it failed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and _fault(path, sha256, size) is None:
        return urls[0]
    part = path.with_name(path.name + ".part")
    failures: list[str] = []
    for url in urls:
        if sha256 is None and failures:
            # without a checksum nothing tells that two mirrors hold the same bytes
            part.unlink(missing_ok=True)
        try:
            _download(url, part, size, path.name)
        except _RefusedError as error:
            failures.append(f"{url}: {error}")
            continue
        fault = _fault(part, sha256, size)
        if fault is None:
            part.replace(path)
            return url
        part.unlink()
        failures.append(f"{url}: {fault}")
    raise UserError.of(f"{path.name} cannot be downloaded; fetch it by hand to {path} if all else fails:", failures)


def _fault(path: Path, sha256: str | None, size: int | None) -> str | None:
    """What is wrong with a downloaded file."""
    found = path.stat().st_size
    if size is not None and found != size:
        return f"{found} bytes instead of {size}"
    if found == 0:
        return "the file is empty"
    if sha256 is not None and (digest := sha256_of(path)) != sha256:
        return f"sha256 {digest} instead of {sha256}"
    return None


def _download(url: str, part: Path, size: int | None, label: str) -> None:
    """Get the whole file into `part`, going on after cuts as long as bytes arrive. Raises _RefusedError."""
    attempts = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            _request(url, part, size, label)
            return
        except urllib.error.HTTPError as error:
            if error.code not in (408, 425, 429) and error.code < 500:
                raise _RefusedError(f"HTTP {error.code} {error.reason}") from None
            reason: object = f"HTTP {error.code} {error.reason}"
        except urllib.error.URLError as error:
            if isinstance(error.reason, ssl.SSLCertVerificationError):
                raise _RefusedError(
                    f"the server's certificate is not valid ({error.reason.verify_message}): its owner must renew it, "
                    f"or this machine lacks the certificate authority (a proxy's? then set SSL_CERT_FILE)"
                ) from None
            reason = error.reason
        except (OSError, http.client.HTTPException) as error:
            reason = error or type(error).__name__
        arrived = part.exists() and part.stat().st_size > before
        attempts = 1 if arrived else attempts + 1
        if attempts == ATTEMPTS:
            raise _RefusedError(f"given up after {ATTEMPTS} attempts: {reason}")
        note(f"{label}: {reason}; trying again")
        time.sleep(PAUSE_SECONDS * 2 ** (attempts - 1))


def _request(url: str, part: Path, size: int | None, label: str) -> None:
    """One request for the bytes that are still missing."""
    start = part.stat().st_size if part.exists() else 0
    if size is not None and start == size:
        return
    request = urllib.request.Request(
        urllib.parse.quote(url, safe="%/:?=&~+,;@#()'!*$"), headers={"User-Agent": USER_AGENT}
    )
    if start:
        request.add_header("Range", f"bytes={start}-")
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code == 416:
            # nothing lies beyond our bytes: either they are the whole file, or they are another file's
            if error.headers.get("Content-Range", "").rpartition("/")[2] == str(start):
                return
            part.unlink()
            raise ConnectionError("the partial file is longer than the server's; starting anew") from None
        raise
    with response:
        if response.status != 206:
            start = 0
        length = response.headers.get("Content-Length")
        total = start + int(length) if length else None
        if size is not None and total is not None and total != size:
            raise _RefusedError(f"the server's file has {total} bytes, not {size}: another version")
        megabytes = (total or size or 0) // BLOCK
        with open(part, "ab" if start else "wb") as file, Meter(megabytes, f"{label} (MB)", start // BLOCK) as meter:
            while block := response.read(BLOCK):
                file.write(block)
                meter.advance(1)
        if total is not None and part.stat().st_size < total:
            raise ConnectionError(f"the connection was cut at {part.stat().st_size} of {total} bytes")
