"""Optical flow: the mapping to bytes by hand, the algorithms on a texture that moves."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ssar.config import OpticalFlow
from ssar.data import optical_flow as module
from ssar.data.optical_flow import optical_flow, read_with_flow
from ssar.errors import UserError


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    yield
    module._opencv.cache_clear()
    module._raft_network.cache_clear()


def texture(seed: int = 0, side: int = 80) -> np.ndarray:
    """Smooth noise (side, side, 3), the same in all channels."""
    noise = torch.from_numpy(np.random.default_rng(seed).uniform(size=(1, 1, side // 5, side // 5)))
    smooth = torch.nn.functional.interpolate(noise, size=(side, side), mode="bicubic")[0, 0]
    return (smooth.clamp(0, 1) * 255).byte().numpy()[..., None].repeat(3, axis=2)


def given(u: float, v: float) -> Any:
    """An algorithm that finds the same displacement everywhere."""
    return lambda first, second: np.broadcast_to(np.float32([u, v]), (*first.shape[:3], 2))


@pytest.mark.parametrize(
    ("u", "v", "expected"),
    [
        (0.0, 0.0, (128, 128, 0)),
        (5.0, -5.0, (160, 96, 90)),  # 128 +- 32; 255 * sqrt(50) / 20 = 90.16
        (-20.0, 20.0, (0, 255, 255)),
        (300.0, -300.0, (255, 0, 255)),
        (3.0, 4.0, (147, 154, 64)),  # 147.2, 153.6, 63.75
    ],
)
def test_displacements_become_bytes(
    u: float, v: float, expected: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(module.ALGORITHMS, "dis", given(u, v))
    frames = np.zeros((2, 4, 6, 3), np.uint8)
    flow = optical_flow(frames, frames, OpticalFlow(bound=20))
    assert flow.dtype == np.uint8
    assert flow.shape == (2, 4, 6, 3)
    assert {tuple(pixel) for pixel in flow.reshape(-1, 3).tolist()} == {expected}


@pytest.mark.parametrize("algorithm", ["dis", "farneback"])
def test_a_texture_that_moves(algorithm: Any) -> None:
    """A square that moves 3 right and 2 up: what is seen at x was at x - 3."""
    pytest.importorskip("cv2")
    first = texture()
    second = texture()
    square = texture(seed=1, side=40)
    first[20:60, 20:60] = square
    second[18:58, 23:63] = square
    flow = optical_flow(np.stack([first, first]), np.stack([second, first]), OpticalFlow(algorithm=algorithm, bound=16))
    inside, outside = flow[0, 30:48, 32:50].reshape(-1, 3), flow[0, :8].reshape(-1, 3)
    u, v, magnitude = np.median(inside, axis=0)
    assert u == pytest.approx(128 + 3 * 8, abs=3)
    assert v == pytest.approx(128 - 2 * 8, abs=3)
    assert magnitude == pytest.approx(255 * 13**0.5 / 16, abs=5)
    assert np.median(outside, axis=0).tolist() == pytest.approx([128, 128, 0], abs=3)
    assert flow[1].reshape(-1, 3).std(axis=0).max() < 1  # the same frame twice
    assert flow[1, 40, 40].tolist() == pytest.approx([128, 128, 0], abs=1)


def test_frames_and_flow_are_read_in_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[int]] = []

    class Numbered:
        """Frame i is full of i."""

        def frames(self, indices: Sequence[int]) -> np.ndarray:
            asked.append(list(indices))
            return np.stack([np.full((2, 2, 3), i, np.uint8) for i in indices])

        def close(self) -> None: ...

    def difference(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return (second.astype(np.float32) - first)[..., :2]

    monkeypatch.setitem(module.ALGORITHMS, "dis", difference)
    frames, flow = read_with_flow(Numbered(), [4, 5, 9, 4], OpticalFlow(bound=128))
    assert asked == [[4, 5, 6, 9, 10]]
    assert frames[:, 0, 0, 0].tolist() == [4, 5, 9, 4]
    assert flow[..., :2].min() == flow[..., :2].max() == 129  # each pair is one frame apart


def test_missing_opencv_is_told_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ModuleNotFoundError(f"No module named '{name}'")

    module._opencv.cache_clear()
    monkeypatch.setattr(importlib, "import_module", absent)
    frames = np.zeros((1, 16, 16, 3), np.uint8)
    with pytest.raises(UserError, match=r"opencv-python-headless .*\.\[flow\]"):
        optical_flow(frames, frames, OpticalFlow())


def test_missing_raft_weights_are_told_with_their_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    frames = np.zeros((1, 16, 16, 3), np.uint8)
    with pytest.raises(UserError, match=r"checkpoints/raft_small\S+\.pth; fetch them from https://"):
        optical_flow(frames, frames, OpticalFlow(algorithm="raft"))


def test_raft_sees_padded_frames_from_minus_one_to_one(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def network(first: torch.Tensor, second: torch.Tensor) -> list[torch.Tensor]:
        seen.append((first, second))
        y, x = torch.meshgrid(torch.arange(first.shape[2]), torch.arange(first.shape[3]), indexing="ij")
        return [torch.zeros(1), torch.stack([x, y]).expand(len(first), 2, -1, -1) * 0.125]

    monkeypatch.setattr(module, "_raft_network", lambda: network)
    first, second = np.zeros((2, 20, 131, 3), np.uint8), np.full((2, 20, 131, 3), 255, np.uint8)
    flow = optical_flow(first, second, OpticalFlow(algorithm="raft", bound=128))
    ((a, b),) = seen
    assert a.shape == b.shape == (2, 3, 128, 136)
    assert (a.unique().tolist(), b.unique().tolist()) == ([-1.0], [1.0])
    assert flow.shape == first.shape
    assert flow[0, 8, 40, :2].tolist() == [128 + 5, 128 + 1]  # the corner is where it was
    assert flow[0, 0, 0].tolist() == [128, 128, 0]


def test_raft_loads_the_weights_that_are_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from torchvision.models.optical_flow import Raft_Small_Weights, raft_small

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    file = tmp_path / "checkpoints" / Raft_Small_Weights.DEFAULT.url.rsplit("/", 1)[1]
    weights = raft_small().state_dict()
    torch.save(weights, file)
    network = module._raft_network()
    assert not network.training
    assert all(torch.equal(value, weights[name]) for name, value in network.state_dict().items())
