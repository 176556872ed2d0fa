"""Small synthetic videos for the tests: noise-like frames that tell themselves apart, encoded with PyAV."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

OPTIONS = {
    # the exact codec of RGB, for tests that compare pixels
    "ffv1": ("bgr0", {}),
    # a keyframe every 10 frames and B-frames, so that seeking and reordering are exercised
    "mpeg4": ("yuv420p", {"g": "10", "bf": "2", "qscale": "3", "flags": "+qscale"}),
    "h264": ("yuv420p", {"g": "10", "bf": "2", "crf": "18", "preset": "veryfast"}),
}


def moving_frames(count: int, height: int = 48, width: int = 64, seed: int = 0) -> np.ndarray:
    """uint8 (count, height, width, 3): a smooth random texture that moves, under a brightness that encodes time."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(40, 215, (height // 8 + 2, width // 8 + 2, 3))
    texture = np.kron(coarse, np.ones((8, 8, 1)))
    frames = [np.roll(texture, 3 * t, axis=1)[:height, :width] + 40 * np.sin(t * 2.4) for t in range(count)]
    return np.clip(frames, 0, 255).astype(np.uint8)


def write_video(path: str | Path, frames: np.ndarray, fps: int = 25, codec: str = "mpeg4", rotation: int = 0) -> Path:
    """Encode uint8 (T, H, W, 3) RGB frames; the container follows the suffix. `ffv1` (in .mkv or .avi) is lossless.

    `rotation`: degrees, counter-clockwise, by which a player is told to turn the video.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    pixel_format, options = OPTIONS[codec]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264" if codec == "h264" else codec, rate=fps, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pixel_format
        stream.codec_context.thread_count = 1
        if rotation:
            stream.set_display_rotation(rotation)
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode())
    return path


def make_folder(
    root: str | Path,
    classes: int | list[str] = 2,
    per_class: int = 3,
    frames: int = 12,
    size: tuple[int, int] = (48, 64),
    codec: str = "mpeg4",
    suffix: str = ".mp4",
) -> list[str]:
    """Make `root/<class>/<class>_<number>` videos, all different; returns their paths relative to `root`, sorted."""
    names = [f"class{i}" for i in range(classes)] if isinstance(classes, int) else classes
    paths = []
    for label, name in enumerate(names):
        for number in range(per_class):
            path = f"{name}/{name}_{number:02d}{suffix}"
            content = moving_frames(frames, *size, seed=1000 * label + number)
            write_video(Path(root) / path, content, codec=codec)
            paths.append(path)
    return sorted(paths)
