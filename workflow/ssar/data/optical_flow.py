"""Optical flow from a frame to the next, as bytes: a third modality beside frames and their gradients."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from ssar.config import OpticalFlow
from ssar.data.reader import Reader
from ssar.errors import UserError

RAFT_SIDE, RAFT_MULTIPLE = 128, 8
"""RAFT's least side, and what its sides must be multiples of."""


def optical_flow(first: np.ndarray, second: np.ndarray, settings: OpticalFlow) -> np.ndarray:
    """Flow from `first` to `second`, uint8 RGB (T, H, W, 3) each, as uint8 (T, H, W, 3): u, v and magnitude.

    u grows to the right, v downwards. With b pixels the `bound`, u and v are 128 + 128 u / b and the magnitude is
    255 |(u, v)| / b, rounded and cut off at 0 and 255. No motion is (128, 128, 0).

    Raises UserError where the algorithm's package or weights are missing.
    """
    flow = ALGORITHMS[settings.algorithm](first, second)
    shift = 128 + flow * (128 / settings.bound)
    magnitude = np.linalg.norm(flow, axis=-1, keepdims=True) * (255 / settings.bound)
    return np.concatenate([shift, magnitude], axis=-1).round().clip(0, 255).astype(np.uint8)


def read_with_flow(
    reader: Reader, indices: Sequence[int] | np.ndarray, settings: OpticalFlow
) -> tuple[np.ndarray, np.ndarray]:
    """Frames and the flow from each to the next, both uint8 (T, H, W, 3), in one pass over the video.

    Every frame that either needs is decoded once. Each index + 1 must be a frame of the video.
    """
    current = np.asarray(indices)
    wanted, position = np.unique(np.concatenate([current, current + 1]), return_inverse=True)
    frames, following = np.split(reader.frames(wanted.tolist())[position], 2)
    return frames, optical_flow(frames, following, settings)


# --- algorithms: uint8 (T, H, W, 3) twice to displacements in pixels, float32 (T, H, W, 2) --------


def _dis(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Dense Inverse Search (Kroeger et al., ECCV 2016) at OpenCV's middle preset."""
    cv2 = _opencv()
    search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return _each_pair(first, second, lambda a, b: search.calc(a, b, None))


def _farneback(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Polynomial expansion (Farneback, SCIA 2003) with the settings of OpenCV's example."""
    cv2 = _opencv()
    return _each_pair(
        first,
        second,
        lambda a, b: cv2.calcOpticalFlowFarneback(
            a, b, None, pyr_scale=0.5, levels=3, winsize=15, iterations=3, poly_n=5, poly_sigma=1.2, flags=0
        ),
    )


def _raft(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """RAFT (Teed and Deng, ECCV 2020), torchvision's small network; frames are padded to sides that it takes."""
    import torch
    import torch.nn.functional as F

    height, width = first.shape[1:3]
    right, bottom = (max(RAFT_SIDE, -(-side // RAFT_MULTIPLE) * RAFT_MULTIPLE) - side for side in (width, height))

    def prepare(frames: np.ndarray) -> torch.Tensor:
        pixels = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2) / 127.5 - 1
        return F.pad(pixels, (0, right, 0, bottom), mode="replicate")

    with torch.inference_mode():
        flow = _raft_network()(prepare(first), prepare(second))[-1]
    result: np.ndarray = flow[:, :, :height, :width].permute(0, 2, 3, 1).numpy()
    return result


ALGORITHMS = {"dis": _dis, "farneback": _farneback, "raft": _raft}


def _each_pair(first: np.ndarray, second: np.ndarray, algorithm: Any) -> np.ndarray:
    """OpenCV's algorithms take one pair of grey frames (H, W) at a time."""
    cv2 = _opencv()
    grey = [[cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames] for frames in (first, second)]
    return np.stack([algorithm(a, b) for a, b in zip(*grey, strict=True)])


@cache
def _opencv() -> Any:
    try:
        cv2 = importlib.import_module("cv2")
    except ImportError as error:
        raise UserError(
            f"optical flow needs the package opencv-python-headless ({error}); install it, e.g. by "
            "`pip install -e .[flow]`, or choose `flow.algorithm: raft`"
        ) from error
    cv2.setNumThreads(1)  # the loader has a process for each core
    return cv2


@cache
def _raft_network() -> Any:
    import torch
    from torchvision.models.optical_flow import Raft_Small_Weights, raft_small

    url = Raft_Small_Weights.DEFAULT.url
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlsplit(url).path).name
    if not file.is_file():
        raise UserError(
            f"RAFT's weights are not at {file}; fetch them from {url} and put them there, or choose another "
            "`flow.algorithm`"
        )
    network = raft_small()
    network.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    return network.eval()
