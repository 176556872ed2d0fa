"""Downloads against a server of our own: cut connections, wrong files, mirrors, lists of parts; unpacking."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import ssar.data.archives as archives
import ssar.data.download as download
from ssar.config import DatasetConfig, ListFile, Mirror
from ssar.data.fetch import fetch_dataset, unpack_dataset
from ssar.data.lists import read_list
from ssar.errors import UserError

CONTENT = bytes(range(256)) * 12000  # about 3 MB
SHA = hashlib.sha256(CONTENT).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves `files`; the first `cuts` answers stop half way, the first `busy` ones are 503."""

    daemon_threads = True
    cuts = busy = 0
    ranges = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {"/good": CONTENT}
        self.log: list[tuple[str, str | None]] = []

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}{path}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        span = self.headers.get("Range") if self.server.ranges else None
        self.server.log.append((self.path, span))
        content = self.server.files.get(self.path)
        if self.server.busy:
            self.server.busy -= 1
            return self.send_error(503)
        if content is None:
            return self.send_error(404)
        start = int(span.removeprefix("bytes=").removesuffix("-")) if span else 0
        if span and start >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        body = content[start:]
        self.send_response(206 if span else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.server.cuts:
            self.server.cuts -= 1
            body = body[: len(body) // 2]
        self.wfile.write(body)
        return None

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(download, "PAUSE_SECONDS", 0.01)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = Server()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_a_cut_download_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    server.cuts = 2
    path = tmp_path / "new" / "file"
    assert download.fetch_file([server.url("/good")], path, sha256=SHA, size=len(CONTENT)) == server.url("/good")
    assert path.read_bytes() == CONTENT
    half = len(CONTENT) // 2
    assert server.log == [("/good", None), ("/good", f"bytes={half}-"), ("/good", f"bytes={half + half // 2}-")]
    assert [item.name for item in path.parent.iterdir()] == ["file"]
    # what is there and right is not fetched again
    download.fetch_file([server.url("/good")], path, sha256=SHA)
    assert len(server.log) == 3


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("have", [1000, len(CONTENT), len(CONTENT) + 5])
def test_bytes_of_an_earlier_call_are_used_if_they_fit(server: Server, tmp_path: Path, ranges: bool, have: int) -> None:
    server.ranges = ranges
    (tmp_path / "file.part").write_bytes((CONTENT + b"extra")[:have])
    download.fetch_file([server.url("/good")], tmp_path / "file", sha256=SHA)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_mirrors_are_tried_in_order(server: Server, tmp_path: Path) -> None:
    server.files["/wrong"] = b"x" * len(CONTENT)
    server.files["/small"] = b"x" * 10
    urls = [server.url(path) for path in ("/none", "/small", "/wrong", "/good")]
    assert download.fetch_file(urls, tmp_path / "file", sha256=SHA, size=len(CONTENT)) == urls[3]
    assert [path for path, _ in server.log] == ["/none", "/small", "/wrong", "/good"]
    with pytest.raises(UserError) as caught:
        download.fetch_file(urls[:3], tmp_path / "other", sha256=SHA, size=len(CONTENT))
    text = str(caught.value)
    for words in (
        "/none: HTTP 404",
        "/small: the server's file has 10 bytes",
        "/wrong: sha256",
        str(tmp_path / "other"),
    ):
        assert words in text
    assert not (tmp_path / "other").exists()
    assert not (tmp_path / "other.part").exists()


def test_a_busy_server_is_asked_again_but_not_for_ever(server: Server, tmp_path: Path) -> None:
    server.busy = 3
    download.fetch_file([server.url("/good")], tmp_path / "file", sha256=SHA)
    server.busy = 99
    with pytest.raises(UserError, match="given up after 5 attempts: HTTP 503"):
        download.fetch_file([server.url("/good")], tmp_path / "other")


def test_empty_files_are_refused(server: Server, tmp_path: Path) -> None:
    server.files["/empty"] = b""
    with pytest.raises(UserError, match="the file is empty"):
        download.fetch_file([server.url("/empty")], tmp_path / "file")


def test_an_untrusted_certificate_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ssl
    import urllib.error

    def refuse(*_: object, **__: object) -> None:
        error = ssl.SSLCertVerificationError("certificate verify failed")
        error.verify_message = "unable to get local issuer certificate"
        raise urllib.error.URLError(error)

    monkeypatch.setattr(download.urllib.request, "urlopen", refuse)
    with pytest.raises(UserError, match=r"certificate is not valid \(unable to get local issuer certificate\)"):
        download.fetch_file(["https://example.org/x"], tmp_path / "file")


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as pack:
        for name, content in files.items():
            pack.writestr(name, content)
    return buffer.getvalue()


def tarred(files: dict[str, bytes], mode: str = "w:gz") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as pack:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            pack.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def test_a_dataset_is_fetched_and_unpacked(server: Server, tmp_path: Path) -> None:
    inner = zipped({"sit/c.avi": b"c"})
    server.files |= {
        "/all.zip": zipped({"run/a.avi": b"a", "__MACOSX/x": b"", "more.zip": inner}),
        "/list.txt": "\n".join(server.url(f"/part%20{i}.tar.gz") for i in range(2)).encode(),
        "/part%200.tar.gz": tarred({"./b.mp4": b"b"}),
        "/part%201.tar.gz": tarred({"d.mp4": b"d"}, "w:"),  # a plain tar under a wrong name
    }
    content = server.files["/all.zip"]
    config = DatasetConfig(
        kind="download",
        files=(
            Mirror(
                name="all.zip", urls=(server.url("/none"), server.url("/all.zip")),
                sha256=hashlib.sha256(content).hexdigest(), bytes=len(content),
            ),
            Mirror(name="train.txt", urls=(server.url("/list.txt"),), parts=True),
        ),
    )  # fmt: skip
    fetch_dataset(config, tmp_path / "downloads.json")
    files = json.loads((tmp_path / "downloads.json").read_text())["files"]
    assert [item["name"] for item in files] == ["all.zip", "train/part 0.tar.gz", "train/part 1.tar.gz"]
    assert files[0]["url"] == server.url("/all.zip")
    unpack_dataset(tmp_path / "downloads.json", tmp_path / "unpacked.json")
    found = {
        path.relative_to(tmp_path / "videos").as_posix() for path in (tmp_path / "videos").rglob("*") if path.is_file()
    }
    assert found == {"run/a.avi", "sit/c.avi", "train/part 0/b.mp4", "train/part 1/d.mp4"}
    assert json.loads((tmp_path / "unpacked.json").read_text())["files"] == 4


def test_unpacking_goes_on_where_it_stopped(tmp_path: Path) -> None:
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads" / "1.zip").write_bytes(zipped({"run/a.avi": b"a"}))
    (tmp_path / "downloads" / "2.zip").write_bytes(b"damaged")
    records = [{"name": f"{i}.zip", "url": "", "bytes": 1, "sha256": None, "into": ""} for i in (1, 2)]
    (tmp_path / "downloads.json").write_text(json.dumps({"files": records}))
    with pytest.raises(UserError, match=r"2\.zip cannot be unpacked"):
        unpack_dataset(tmp_path / "downloads.json", tmp_path / "unpacked.json")
    assert not (tmp_path / "unpacked.json").exists()
    (tmp_path / "downloads" / "1.zip").unlink()  # done already: not needed again
    (tmp_path / "downloads" / "2.zip").write_bytes(zipped({"run/b.avi": b"b"}))
    unpack_dataset(tmp_path / "downloads.json", tmp_path / "unpacked.json")
    assert {path.name for path in (tmp_path / "videos" / "run").iterdir()} == {"a.avi", "b.avi"}


@pytest.mark.parametrize("name", ["../evil", "/evil", "run/../../evil", "C:/evil"])
@pytest.mark.parametrize("pack", [zipped, tarred])
def test_archives_cannot_write_outside_their_folder(tmp_path: Path, name: str, pack) -> None:  # type: ignore[no-untyped-def]
    archive = tmp_path / ("a.zip" if pack is zipped else "a.tar.gz")
    archive.write_bytes(pack({name: b"x"}))
    with pytest.raises(UserError, match="outside the folder"):
        archives.unpack(archive, tmp_path / "videos")
    assert not list(tmp_path.rglob("evil"))


def test_links_in_archives_are_not_followed(tmp_path: Path) -> None:
    archive = tmp_path / "a.tar"
    with tarfile.open(archive, "w") as pack:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        pack.addfile(link)
        inside = tarfile.TarInfo("link/passwd")
        pack.addfile(inside, io.BytesIO())
    archives.unpack(archive, tmp_path / "videos")
    assert not (tmp_path / "videos" / "link").is_symlink()


def test_rar_needs_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.rar").write_bytes(b"Rar!")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="needs one of bsdtar, unrar"):
        archives.unpack(tmp_path / "a.rar", tmp_path / "videos")
    # any program of that name and behaviour will do
    tool = tmp_path / "unrar"
    tool.write_text('#!/bin/sh\n/bin/mkdir -p "$5/run" && echo content > "$5/run/a.avi"\n')
    tool.chmod(0o755)
    archives.unpack(tmp_path / "a.rar", tmp_path / "videos")
    assert (tmp_path / "videos" / "run" / "a.avi").read_text() == "content\n"


def test_published_lists_are_fetched_once(server: Server, tmp_path: Path) -> None:
    text = b"run/a 30 0\n"
    server.files["/list"] = text
    item = ListFile(
        path=str(tmp_path / "lists" / "l.txt"), url=server.url("/list"), sha256=hashlib.sha256(text).hexdigest()
    )
    for _ in range(2):
        assert [entry.stem for entry in read_list(item, "train", (".avi",))] == ["a"]
    assert len(server.log) == 1
