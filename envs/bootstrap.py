"""Make `.venv` from requirements.lock, bringing `uv` into `.tools` where the machine has none.

Needs nothing but the standard library of any Python >= 3.8, changes nothing outside the checkout (uv's own
download cache aside), and returns at once when `.venv` is up to date. `make` calls it before every target.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
TOOLS = ROOT / ".tools"
LOCK = ROOT / "requirements.lock"
STAMP = VENV / "ssar-environment.txt"
OLDEST_UV = (0, 6)
# from the oldest that the project supports to below the first for which a locked package has no wheel
PYTHONS = ((3, 11), (3, 14))
RELEASES = "https://github.com/astral-sh/uv/releases/latest/download"


class BringError(Exception):
    """One way to get uv did not work; the message says why."""


def run(command: list[str], **environment: str) -> str:
    """Output of a command. Raises BringError with its last lines when it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})
    except OSError as error:
        raise BringError(f"{command[0]}: {error.strerror}") from None
    if done.returncode:
        last = " / ".join((done.stderr or done.stdout).strip().splitlines()[-3:])
        raise BringError(last or f"exit status {done.returncode}")
    return done.stdout


def usable(path: Path | str | None) -> Path:
    """The path when it is a uv that is new enough."""
    if path is None or not Path(path).is_file():
        raise BringError("not there")
    words = run([str(path), "--version"]).split()
    found = re.match(r"(\d+)\.(\d+)", words[1]) if len(words) > 1 else None
    if found is None or tuple(map(int, found.groups())) < OLDEST_UV:
        raise BringError(f"{' '.join(words)} at {path} is older than {'.'.join(map(str, OLDEST_UV))}")
    return Path(path)


def pip_install_uv(python: Path | str, *options: str) -> None:
    """`pip install uv` with the user's own index settings, but not those that redirect an installation."""
    requirement = f"uv>={'.'.join(map(str, OLDEST_UV))}"
    command = [str(python), "-m", "pip", "install", "--disable-pip-version-check", *options, requirement]
    run(command, PIP_USER="0", PIP_REQUIRE_VIRTUALENV="0", PYTHONPATH="")


def with_venv(folder: Path) -> None:
    run([sys.executable, "-m", "venv", str(folder)])
    pip_install_uv(folder / "bin" / "python")


def with_pip_target(folder: Path) -> None:
    pip_install_uv(sys.executable, "--target", str(folder))


def with_download(folder: Path) -> None:
    """uv's own release archive (the one that its installer script fetches), held to the checksum beside it."""
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower())
    system = {"Linux": "unknown-linux-musl", "Darwin": "apple-darwin"}.get(platform.system())  # musl: static
    if system is None:
        raise BringError(f"no release for {platform.system()}")
    name = f"uv-{machine}-{system}"
    try:
        with urllib.request.urlopen(f"{RELEASES}/{name}.tar.gz.sha256", timeout=60) as answer:
            expected = answer.read().decode().split()[0]
        with urllib.request.urlopen(f"{RELEASES}/{name}.tar.gz", timeout=60) as answer:
            archive = answer.read()
    except OSError as error:
        raise BringError(f"{RELEASES}/{name}.tar.gz: {error}") from None
    if hashlib.sha256(archive).hexdigest() != expected:
        raise BringError(f"{name}.tar.gz does not have the checksum that is published beside it")
    (folder / "bin").mkdir(parents=True)
    packed = folder / f"{name}.tar.gz"
    packed.write_bytes(archive)
    with tarfile.open(packed) as tar:
        member = next((tar.extractfile(entry) for entry in tar if entry.name == f"{name}/uv"), None)
        if member is None:
            raise BringError(f"{name}.tar.gz holds no uv")
        (folder / "bin" / "uv").write_bytes(member.read())
    packed.unlink()
    (folder / "bin" / "uv").chmod(0o755)


def find_uv() -> Path:
    """A usable uv: the user's, or one brought into `.tools`. Exits with every reason when there is none."""
    folder = TOOLS / "uv"
    tried = []
    for label, path in (("uv on PATH", shutil.which("uv")), ("uv of an earlier call", folder / "bin" / "uv")):
        try:
            return usable(path)
        except BringError as error:
            tried.append(f"{label}: {error}")
    print(f"setup: no uv on PATH, bringing one into {folder}", file=sys.stderr, flush=True)
    ways = (
        (f"{sys.executable} -m venv, then pip", with_venv),
        (f"{sys.executable} -m pip install --target", with_pip_target),
        ("uv's release archive", with_download),
    )
    for label, bring in ways:
        shutil.rmtree(folder, ignore_errors=True)
        try:
            bring(folder)
            return usable(folder / "bin" / "uv")
        except BringError as error:
            tried.append(f"{label}: {error}")
    reasons = "\n".join(f"  - {reason}" for reason in tried)
    sys.exit(f"setup: uv is missing and could not be brought:\n{reasons}\nInstall uv yourself, then call make again.")


def stamp() -> str | None:
    """What `.venv` would be stamped with now: its lock file, interpreter and place; None without an interpreter."""
    interpreter = (VENV / "bin" / "python").resolve()
    if not interpreter.is_file() or not (VENV / "pyvenv.cfg").is_file():
        return None
    lock = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    # scripts in .venv/bin hold absolute paths: a checkout that was moved or copied needs new ones
    return f"requirements.lock sha256 {lock}\ninterpreter {interpreter}\nfolder {VENV}\n"


def ready() -> bool:
    expected = stamp()
    return expected is not None and STAMP.is_file() and STAMP.read_text() == expected


def moved() -> bool:
    """Whether `.venv` was made in another folder, or by hand, so that its scripts cannot be trusted."""
    return STAMP.is_file() and f"folder {VENV}\n" not in STAMP.read_text()


def succeeds(*command: str) -> bool:
    """Run a command in the open."""
    # wheels of hundreds of megabytes: uv's usual 30 s of silence are too short on a slow line
    defaults = {"UV_HTTP_TIMEOUT": "300", "UV_PYTHON_INSTALL_DIR": str(TOOLS / "python")}
    return subprocess.run(command, env={**defaults, **os.environ}, cwd=ROOT).returncode == 0


def call(*command: str) -> None:
    """Run a command; exit when it fails, since it has said why."""
    if not succeeds(*command):
        sys.exit(f"setup: `{' '.join(command)}` failed; its message stands above")


def make_venv(uv: str) -> None:
    """An empty `.venv`, of this Python when it is in range, else of one that uv finds on PATH or fetches."""
    shutil.rmtree(VENV, ignore_errors=True)
    make = (uv, "venv", "--quiet", "--no-project", str(VENV), "--python")
    base = getattr(sys, "_base_executable", sys.executable)
    oldest, beyond = PYTHONS
    in_range = ">={}.{},<{}.{}".format(*oldest, *beyond)
    if sys.version_info[:2] >= beyond and not succeeds(*make, in_range):
        print(f"setup: no Python {in_range}, so {base}: it may need a C compiler", file=sys.stderr, flush=True)
        call(*make, base)
    elif sys.version_info[:2] < beyond:
        call(*make, base if sys.version_info[:2] >= oldest else in_range)


def install() -> None:
    """Bring `.venv` to the state of requirements.lock."""
    uv = str(find_uv())
    if stamp() is None or moved():
        make_venv(uv)
    STAMP.unlink(missing_ok=True)
    print(f"setup: installing {LOCK.name} into {VENV}", file=sys.stderr, flush=True)
    # without bytecode every start of a machine that writes none (a read-only environment, PYTHONDONTWRITEBYTECODE, as
    # containers set it) compiles all modules again: 3.4 s instead of 1.1 s for Snakemake alone, twice in every job
    options = ("--compile-bytecode", "--require-hashes")
    call(uv, "pip", "sync", *options, "--python", str(VENV / "bin" / "python"), str(LOCK))
    temporary = STAMP.with_suffix(".part")
    temporary.write_text(stamp() or "")
    os.replace(temporary, STAMP)


if __name__ == "__main__" and not ready():
    TOOLS.mkdir(exist_ok=True)
    with open(TOOLS / "setup.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of two calls of make at once, the second waits and finds it done
        if not ready():
            install()
