"""Downloading one file from a server of our own: whatever goes wrong, the right file or a clear refusal."""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import hashlib
import json
import random
import re
import resource
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests import server as web
from tests.archives import tarred, zipped
from tests.server import Server, serving

from ssar.config import ListFile
from ssar.data.download import Patience, UnavailableError, fetch_file
from ssar.data.lists import read_list
from ssar.data.partial import alone
from ssar.errors import UserError

CONTENT = bytes(range(256)) * 12000  # about 3 MB
SIZE = len(CONTENT)
SHA = hashlib.sha256(CONTENT).hexdigest()
SHORT = Patience(attempts=3, pause=0.01, longest_pause=0.02, longest_wait=0.5, silence=10, window=10, slowest=50_000)
HASTY = replace(SHORT, silence=0.3, window=0.2)
"""For servers that stall: a busy machine, too, is taken for one."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving() as server:
        server.state.files["/good"] = CONTENT
        yield server


def fetch(server: Server, path: Path, *names: str, checked: bool = True, patience: Patience = SHORT) -> str:
    urls = [server.url(name) for name in names or ("/good",)]
    return fetch_file(urls, path, sha256=SHA if checked else None, size=SIZE if checked else None, patience=patience)


def refusal(server: Server, path: Path, *names: str, checked: bool = True, patience: Patience = SHORT) -> str:
    """What is said when no address gives the file, which must then not be there."""
    with pytest.raises(UnavailableError) as caught:
        fetch(server, path, *names, checked=checked, patience=patience)
    assert not path.exists()
    return str(caught.value)


def test_a_cut_download_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    server.state.acts["/good"] = [web.cut(), web.cut()]
    path = tmp_path / "new" / "file"
    assert fetch(server, path) == server.url("/good")
    assert path.read_bytes() == CONTENT
    half = SIZE // 2
    assert server.got("/good") == [None, f"bytes={half}-", f"bytes={half + half // 2}-"]
    assert [item.name for item in path.parent.iterdir()] == ["file"]
    # what is there and right is not fetched again; what is there and wrong is
    fetch(server, path)
    assert len(server.got("/good")) == 3
    path.write_bytes(CONTENT[:-1] + b"x")
    fetch(server, path)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("have", [1000, SIZE, SIZE + 5])
def test_bytes_of_an_earlier_call_are_used_if_they_fit(server: Server, tmp_path: Path, ranges: bool, have: int) -> None:
    server.state.ranges = ranges
    (tmp_path / "file.part").write_bytes((CONTENT + b"extra")[:have])
    fetch_file([server.url("/good")], tmp_path / "file", sha256=SHA, patience=SHORT)
    assert (tmp_path / "file").read_bytes() == CONTENT


@pytest.mark.parametrize("tag", ['"one"', 'W/"one"', None])
def test_a_new_version_on_the_server_is_never_joined_to_the_old_one(server: Server, tmp_path: Path, tag: str) -> None:
    """No checksum: ETag, or at least the size, tells that the file has changed between two calls."""
    path, old, new = tmp_path / "file", b"old" * 100_000, b"new" * 100_001
    server.state.files["/file"] = old
    if tag:
        server.state.tags["/file"] = tag
    server.state.always["/file"] = web.stall()
    refusal(server, path, "/file", checked=False, patience=HASTY)
    assert (tmp_path / "file.part").stat().st_size >= len(old) // 2
    server.state.always.clear()
    # the same version is continued
    if tag == '"one"':
        before = len(server.got("/file"))
        shutil.copytree(tmp_path, tmp_path.with_name("same"))
        fetch(server, tmp_path.with_name("same") / "file", "/file", checked=False)
        assert (tmp_path.with_name("same") / "file").read_bytes() == old
        assert None not in server.got("/file")[before:]
        assert server.state.log[-1].condition == tag
    server.state.files["/file"] = new
    if tag:
        server.state.tags["/file"] = tag.replace("one", "two")
    fetch(server, path, "/file", checked=False)
    assert path.read_bytes() == new


def test_bytes_of_another_address_are_thrown_away_without_a_checksum(server: Server, tmp_path: Path) -> None:
    server.state.files |= {"/a": b"a" * SIZE, "/b": b"b" * SIZE}
    server.state.always["/a"] = web.cut(0)
    server.state.acts["/a"] = [web.cut()]
    fetch(server, tmp_path / "file", "/a", "/b", checked=False)
    assert (tmp_path / "file").read_bytes() == b"b" * SIZE
    # with one the second address continues, which says that it has the same bytes
    server.state.acts["/good"] = [web.cut(), web.status(404)]
    server.state.files["/copy"] = CONTENT
    fetch(server, tmp_path / "other", "/good", "/copy")
    assert server.got("/copy") == [f"bytes={SIZE // 2}-"]


def test_mirrors_are_tried_in_order(server: Server, tmp_path: Path) -> None:
    server.state.files |= {"/wrong": b"x" * SIZE, "/small": b"x" * 10, "/mine": CONTENT}
    server.state.always |= {"/mine": web.status(403), "/page": web.page()}
    server.state.files["/page"] = CONTENT
    names = ("/none", "/mine", "/small", "/page", "/wrong", "/good")
    assert fetch(server, tmp_path / "file", *names) == server.url("/good")
    assert [request.path for request in server.state.log] == list(names)
    text = refusal(server, tmp_path / "other", *names[:-1])
    for words in (
        "/none: HTTP 404",
        "/mine: HTTP 403",
        "/small: the server's file has 10 bytes",
        "/page: the server sends a web page",
        "/wrong: sha256",
        "fetched twice",
        str(tmp_path / "other"),
    ):
        assert words in text
    assert not (tmp_path / "other.part").exists()


def test_a_flipped_bit_is_refused_and_fetched_anew(server: Server, tmp_path: Path) -> None:
    server.state.acts["/good"] = [web.flip()]
    fetch(server, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT
    # in what an earlier call left, too
    (tmp_path / "other.part").write_bytes(b"x" * 1000)
    fetch(server, tmp_path / "other", "/good", "/none")
    assert (tmp_path / "other").read_bytes() == CONTENT


def test_a_busy_server_is_asked_again_when_it_says_but_not_for_ever(server: Server, tmp_path: Path) -> None:
    server.state.acts["/good"] = [web.status(503, Retry_After="0"), web.status(429, Retry_After="1")]
    start = time.monotonic()
    fetch(server, tmp_path / "file")
    assert 0.5 <= time.monotonic() - start < 60  # not longer than `longest_wait`
    server.state.always["/good"] = web.status(503)
    assert "given up after 3 attempts: HTTP 503" in refusal(server, tmp_path / "other")
    # another address helps
    server.state.files["/copy"] = CONTENT
    fetch(server, tmp_path / "other", "/good", "/copy")


@pytest.mark.parametrize("act", [web.stall(0.003), web.trickle(2000)], ids=["silent", "slow"])
def test_a_connection_that_does_not_get_on_is_dropped(server: Server, tmp_path: Path, act: web.Act) -> None:
    server.state.acts["/good"] = [act]
    fetch(server, tmp_path / "file", patience=HASTY)
    assert (tmp_path / "file").read_bytes() == CONTENT
    server.state.files["/bad"] = CONTENT
    server.state.always["/bad"] = act
    start = time.monotonic()
    fetch(server, tmp_path / "other", "/bad", "/good", patience=HASTY)
    assert (tmp_path / "other").read_bytes() == CONTENT
    assert time.monotonic() - start < 50


def test_a_server_that_is_gone_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving() as server:
        url = server.url("/good")
    with pytest.raises(UserError, match=r"given up after 3 attempts: .*refused"):
        fetch_file([url], tmp_path / "file", patience=SHORT)
    with pytest.raises(UserError, match="No connection adapters"):
        fetch_file(["gopher://example.org/x"], tmp_path / "file", patience=SHORT)


def test_a_proxy_that_does_not_answer_is_not_taken_for_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens there
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(UnavailableError, match=r"the proxy that the environment names: .*refused"):
            fetch_file(["http://example.invalid/file"], tmp_path / "file", patience=SHORT)


def test_a_file_of_unknown_length_does_not_fill_the_log(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.state.always["/good"] = web.without_length
    fetch(server, tmp_path / "file", checked=False)
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert capsys.readouterr().err == ""


def test_what_is_shorter_than_stated_is_refused(server: Server, tmp_path: Path) -> None:
    server.state.always["/good"] = web.shorter(7)
    assert f"the server's file has {SIZE - 7} bytes, not {SIZE}" in refusal(server, tmp_path / "file")
    server.state.always["/good"] = lambda answer: (web.shorter(7)(answer), web.without_length(answer))[0]
    assert f"{SIZE - 7} bytes instead of {SIZE}" in refusal(server, tmp_path / "file")
    server.state.files["/empty"] = b""
    assert "the file is empty" in refusal(server, tmp_path / "file", "/empty", checked=False)


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz", "a.tgz", "a.rar", "list.txt"])
@pytest.mark.parametrize("kind", ["text/html", "application/octet-stream"])
def test_a_web_page_is_no_file_whatever_it_calls_itself(server: Server, tmp_path: Path, name: str, kind: str) -> None:
    server.state.files["/x"] = b""
    server.state.always["/x"] = web.page(kind)
    assert "a web page instead of the file" in refusal(server, tmp_path / name, "/x", checked=False)
    assert not list(tmp_path.glob("*.part*"))


def test_an_archive_is_one_whatever_the_server_calls_it(server: Server, tmp_path: Path) -> None:
    server.state.files["/x"] = zipped({"run/a.avi": b"a" * 2000})
    server.state.always["/x"] = lambda answer: answer.headers.update({"Content-Type": "text/html"})
    fetch(server, tmp_path / "a.zip", "/x", checked=False)
    assert (tmp_path / "a.zip").read_bytes() == server.state.files["/x"]


@pytest.mark.parametrize("checked", [True, False])
def test_what_comes_compressed_unasked_is_not_kept_so(server: Server, tmp_path: Path, checked: bool) -> None:
    def packed(answer: web.Answer) -> None:
        answer.body = gzip.compress(answer.body, 0)
        answer.headers |= {"Content-Encoding": "gzip", "Content-Length": str(len(answer.body))}

    server.state.acts["/good"] = [lambda answer: (packed(answer), web.cut()(answer))[0]]
    server.state.always["/good"] = packed
    fetch(server, tmp_path / "file", checked=checked)
    assert (tmp_path / "file").read_bytes() == CONTENT
    # of an archive it is the archive that the word is about
    server.state.files["/x"] = tarred({"run/a.avi": b"a" * 2000}, "w:gz")
    server.state.always["/x"] = lambda answer: answer.headers.update({"Content-Encoding": "gzip"})
    fetch(server, tmp_path / "a.tar.gz", "/x", checked=False)
    assert (tmp_path / "a.tar.gz").read_bytes() == server.state.files["/x"]


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz", "a.tar", "a.tar.bz2", "a.tar.xz"])
def test_an_archive_without_checksum_is_read_to_its_end(server: Server, tmp_path: Path, name: str) -> None:
    files = {f"run/{i}.avi": random.Random(i).randbytes(3000) for i in range(20)}
    mode = {"a.tar": "w:gz", "a.tar.gz": "w:gz", "a.tar.bz2": "w:bz2", "a.tar.xz": "w:xz"}
    server.state.files["/x"] = zipped(files) if name == "a.zip" else tarred(files, mode[name])
    server.state.always["/x"] = web.flip(0.4)
    text = refusal(server, tmp_path / name, "/x", checked=False)
    assert re.search("the archive is damaged|no .* archive", text), text
    assert "fetched twice" in text
    server.state.always.clear()
    fetch(server, tmp_path / name, "/x", checked=False)
    # cut off without a word, and not an archive at all
    server.state.always["/x"] = lambda answer: (web.shorter(900)(answer), web.without_length(answer))[0]
    assert "the archive is damaged" in refusal(server, tmp_path / f"2{name}", "/x", checked=False)
    assert "archive; it begins with" in refusal(server, tmp_path / f"3{name}", "/good", checked=False)


def test_a_tar_may_be_compressed_or_not_whatever_its_name_says(server: Server, tmp_path: Path) -> None:
    for number, mode in enumerate(("w:", "w:gz", "w:bz2", "w:xz")):
        server.state.files["/x"] = tarred({"run/a.avi": b"a" * 2000}, mode)
        fetch(server, tmp_path / f"{number}.tar.gz", "/x", checked=False)


def test_an_untrusted_certificate_moves_on_to_the_next_address(server: Server, tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate")
    pem = tmp_path / "both.pem"
    make = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout key.pem -out cert.pem"
    subprocess.run(make.split(), cwd=tmp_path, check=True, capture_output=True)
    pem.write_bytes((tmp_path / "key.pem").read_bytes() + (tmp_path / "cert.pem").read_bytes())
    with serving(pem) as broken:
        broken.state.files["/good"] = CONTENT
        urls = [broken.url("/good"), server.url("/good")]
        assert fetch_file(urls, tmp_path / "file", sha256=SHA, patience=SHORT) == urls[1]
        with pytest.raises(UserError, match=r"certificate is not valid \(self.signed certificate\)"):
            fetch_file(urls[:1], tmp_path / "other", sha256=SHA, patience=SHORT)
        assert not broken.state.log


def limited(server: Server, path: Path, limit: int) -> subprocess.CompletedProcess[str]:
    """Download in a process that may write no larger file."""
    code = (
        "import sys; from ssar.data.download import fetch_file; from pathlib import Path\n"
        "from ssar.errors import UserError\n"
        "try: fetch_file([sys.argv[1]], Path(sys.argv[2]))\n"
        "except UserError as error: sys.exit(str(error))"
    )
    return subprocess.run(
        [sys.executable, "-c", code, server.url("/good"), str(path)],
        env={"PYTHONPATH": "workflow", "no_proxy": "127.0.0.1"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )


def test_a_full_disk_keeps_what_has_arrived(server: Server, tmp_path: Path) -> None:
    server.state.tags["/good"] = '"1"'
    done = limited(server, tmp_path / "file", 2_000_000)
    assert done.returncode == 1
    assert re.search(r"File too large after 0\.00[12] GB, which are kept; make room", done.stderr), done.stderr
    assert "Traceback" not in done.stderr
    kept = (tmp_path / "file.part").stat().st_size
    assert 0 < kept <= 2_000_000
    assert limited(server, tmp_path / "file", 10_000_000).returncode == 0
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert server.got("/good") == [None, f"bytes={kept}-"]


def test_a_disk_that_is_too_small_is_told_before_the_download(server: Server, tmp_path: Path) -> None:
    server.state.claims["/good"] = 10**16
    with pytest.raises(UserError, match=r"10000000\.000 GB of file are still to download and .* are free"):
        fetch(server, tmp_path / "file", checked=False)
    assert not (tmp_path / "file").exists()


def test_two_processes_do_not_write_one_file(server: Server, tmp_path: Path) -> None:
    with open(tmp_path / ".file.lock", "ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another process has been downloading it"):
            fetch(server, tmp_path / "file")
    fetch(server, tmp_path / "file")
    assert {path.name for path in tmp_path.iterdir()} == {"file"}


def test_a_lock_that_its_owner_has_removed_is_not_one(tmp_path: Path) -> None:
    """Whoever waited for a process that is done must not go on beside a third one, which locks anew."""
    entered, path = threading.Event(), tmp_path / ".file.lock"

    def second() -> None:
        with alone(tmp_path / "file", wait=60, pause=0.01):
            entered.set()

    with contextlib.ExitStack() as third:
        with open(path, "ab") as first:
            fcntl.flock(first, fcntl.LOCK_EX)
            thread = threading.Thread(target=second)
            thread.start()
            time.sleep(0.1)
            path.unlink()
            fcntl.flock(third.enter_context(open(path, "ab")), fcntl.LOCK_EX)
        assert not entered.wait(0.2)
    thread.join(60)
    assert entered.is_set()


def test_published_lists_are_fetched_once(server: Server, tmp_path: Path) -> None:
    text = b"run/a 30 0\n"
    server.state.files["/list"] = text
    item = ListFile(
        path=str(tmp_path / "lists" / "l.txt"), url=server.url("/list"), sha256=hashlib.sha256(text).hexdigest()
    )
    for _ in range(2):
        assert [entry.stem for entry in read_list(item, "train", (".avi",))] == ["a"]
    assert len(server.got("/list")) == 1


def test_the_origin_of_a_partial_file_lies_beside_it(server: Server, tmp_path: Path) -> None:
    server.state.tags["/good"] = '"v1"'
    server.state.always["/good"] = web.cut()
    server.state.acts["/good"] = [web.stall()]
    refusal(server, tmp_path / "file", checked=False, patience=HASTY)
    origin = json.loads((tmp_path / "file.part.json").read_text())
    assert origin == {"url": server.url("/good"), "etag": '"v1"', "modified": None, "total": SIZE}
