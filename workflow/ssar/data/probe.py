"""Decoding one video to its end, to learn what is really in it: containers state wrong frame counts."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import Any

import av

from ssar.data.backends.timetable import open_container, quarter_turns, read_timetable, video_stream
from ssar.data.standin import read_standin
from ssar.data.watchdog import beat
from ssar.files import sha1

RULES = 2
"""Goes up with every change of what is found in a file, so that results of before are not taken for those of now."""
MIN_FRAMES = 2
FRAMES_PER_BEAT = 50


@dataclass(frozen=True, slots=True)
class Probe:
    """What was found in a file. `problem` says why it is unusable; then the other fields may be empty."""

    frames: int = 0
    stated: int = 0
    """Frames that the container promises; 0 where it says nothing."""
    fps: float = 0.0
    width: int = 0
    height: int = 0
    sha1: str = ""
    problem: str | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def probe(path: str, fast: bool = False) -> Probe:
    """Look into a video; `fast` counts its packets and decodes one frame only.

    `frames` is how many frames decode from the start without a gap or damage; width and height are those of the upright
    image.
    Raises OSError for a file that cannot be read.
    """
    if os.path.getsize(path) == 0:
        return Probe(problem="empty file")
    if (reason := read_standin(path)) is not None:
        return Probe(problem=f"its source could not be transcoded: {reason}")
    digest = sha1(path)
    try:
        found = _decode(path, fast)
    except (av.FFmpegError, IndexError, EOFError, OSError) as error:
        return Probe(sha1=digest, problem=f"not a readable video: {_reason(error)}")
    return Probe(**{**found, "sha1": digest})


def _decode(path: str, fast: bool) -> dict[str, Any]:
    """The fields of a Probe but for the checksum."""
    table = read_timetable(path)
    times = table.times
    found: dict[str, Any] = {}
    shown: list[int | None] = []
    damaged: list[int] = []
    with open_container(path) as container:
        stream = video_stream(container)
        found["fps"] = round(float(stream.average_rate or stream.guessed_rate or 0), 3)
        found["stated"] = stream.frames or table.count
        try:
            for frame in container.decode(stream):
                height, width = (frame.height, frame.width)[:: -1 if quarter_turns(frame) % 2 else 1]
                if not shown:
                    found |= {"height": height, "width": width}
                elif (height, width) != (found["height"], found["width"]):
                    found["problem"] = f"the frame size changes at frame {len(shown)}"
                    break
                if frame.is_corrupt:
                    damaged.append(len(shown))
                shown.append(frame.pts)
                if len(shown) % FRAMES_PER_BEAT == 0:
                    beat()
                if fast:
                    break
        except (av.FFmpegError, EOFError) as error:
            found["problem"] = f"decoding fails after {len(shown)} of {found['stated']} frames: {_reason(error)}"
    if damaged and damaged == [len(shown) - 1]:
        shown.pop()  # the file ends in the middle of a frame
    elif damaged and "problem" not in found:
        # decoders fill the holes in different ways, and differently after seeking
        found["problem"] = f"{len(damaged)} of {len(shown)} frames are damaged, the first is frame {damaged[0]}"
    found["frames"] = table.count if fast else len(shown)
    if "problem" not in found and found["frames"] < MIN_FRAMES:
        found["problem"] = f"too short: {found['frames']} frame(s), at least {MIN_FRAMES} are needed"
    # readers find a frame by its place among the container's times, so a lost frame would shift all later ones
    if "problem" not in found and times and not fast and set(times[: len(shown)]) != set(shown):
        found["problem"] = f"frames in the middle do not decode ({len(shown)} of {len(times)} do)"
    return found


def _reason(error: Exception) -> str:
    """FFmpeg's words for an error, without the errno and the file name."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
