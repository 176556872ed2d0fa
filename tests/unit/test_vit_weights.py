"""Image weights: where they come from, and that an inflated network sees a still clip as the image."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ssar.config import ModelConfig
from ssar.errors import UserError
from ssar.models.timesformer import TimeSformer
from ssar.models.vit_weights import load_image_weights

DIM, HEADS, DEPTH, PATCH, SIZE, FRAMES = 16, 2, 2, 8, 16, 3


def network(pretrained: str | None = None, **vit: int) -> TimeSformer:
    sizes = {"dim": DIM, "depth": DEPTH, "heads": HEADS, "patch": PATCH, "size": SIZE, "frames": FRAMES}
    torch.manual_seed(0)
    values = {"arch": "timesformer", "vit": {**sizes, "pretrained": pretrained, **vit}}
    return TimeSformer(ModelConfig.model_validate(values), 5).eval()


def image_weights(patch: int = PATCH, grid: int = SIZE // PATCH) -> dict[str, Tensor]:
    """Random weights of a small ViT, under timm's names."""
    generator = torch.Generator().manual_seed(4)

    def draw(*shape: int) -> Tensor:
        return 0.3 * torch.randn(*shape, generator=generator)

    found = {"cls_token": draw(1, 1, DIM), "pos_embed": draw(1, 1 + grid**2, DIM)}
    found |= {"patch_embed.proj.weight": draw(DIM, 3, patch, patch), "patch_embed.proj.bias": draw(DIM)}
    layers = {"attn.qkv": (3 * DIM, DIM), "attn.proj": (DIM, DIM), "mlp.fc1": (4 * DIM, DIM), "mlp.fc2": (DIM, 4 * DIM)}
    for i in range(DEPTH):
        for name, shape in layers.items():
            found |= {f"blocks.{i}.{name}.weight": draw(*shape), f"blocks.{i}.{name}.bias": draw(shape[0])}
        for name in ("norm1", "norm2"):
            found |= {f"blocks.{i}.{name}.weight": 1 + draw(DIM), f"blocks.{i}.{name}.bias": draw(DIM)}
    found |= {"norm.weight": 1 + draw(DIM), "norm.bias": draw(DIM)}
    return found | {"head.weight": draw(7, DIM), "head.bias": draw(7)}


def image_features(p: dict[str, Tensor], image: Tensor) -> Tensor:
    """The CLS features of an image transformer, written out: (B, 3, H, W) to (B, D)."""

    def norm(z: Tensor, name: str) -> Tensor:
        return F.layer_norm(z, (DIM,), p[f"{name}.weight"], p[f"{name}.bias"], 1e-6)

    def linear(z: Tensor, name: str) -> Tensor:
        return z @ p[f"{name}.weight"].T + p[f"{name}.bias"]

    patches = image.unfold(2, PATCH, PATCH).unfold(3, PATCH, PATCH)  # (B, 3, H', W', P, P)
    tokens = torch.einsum("bcijpq,dcpq->bijd", patches, p["patch_embed.proj.weight"]) + p["patch_embed.proj.bias"]
    z = torch.cat([p["cls_token"].expand(len(image), -1, -1), tokens.flatten(1, 2)], dim=1) + p["pos_embed"]
    for i in range(DEPTH):
        qkv = linear(norm(z, f"blocks.{i}.norm1"), f"blocks.{i}.attn.qkv")
        q, k, v = (x.unflatten(2, (HEADS, -1)) for x in qkv.split(DIM, dim=2))
        attention = (torch.einsum("blhd,bmhd->bhlm", q, k) / (DIM // HEADS) ** 0.5).softmax(dim=3)
        z = z + linear(torch.einsum("bhlm,bmhd->blhd", attention, v).flatten(2), f"blocks.{i}.attn.proj")
        z = z + linear(F.gelu(linear(norm(z, f"blocks.{i}.norm2"), f"blocks.{i}.mlp.fc1")), f"blocks.{i}.mlp.fc2")
    return norm(z, "norm")[:, 0]


def saved(folder: Path, content: Any) -> str:
    path = folder / "image.pth"
    torch.save(content, path)
    return str(path)


def still(image: Tensor) -> Tensor:
    return image[:, :, None].expand(-1, -1, FRAMES, -1, -1)


# --- inflation ------------------------------------------------------------------------------------


@pytest.mark.parametrize("container", [None, "model", "state_dict"])
def test_a_still_clip_is_seen_as_its_image(tmp_path: Path, container: str | None) -> None:
    weights = image_weights()
    inflated = network(saved(tmp_path, weights if container is None else {container: weights, "epoch": 3}))
    head = inflated.fc.weight.clone()
    (remark,) = inflated.load_pretrained()
    assert "inflated" in remark
    image = torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(5))
    torch.testing.assert_close(inflated.features(still(image)), image_features(weights, image), rtol=1e-4, atol=1e-5)
    assert torch.equal(inflated.fc.weight, head)


def test_temporal_attention_starts_as_the_spatial_one(tmp_path: Path) -> None:
    weights = image_weights()
    inflated = network()
    with torch.no_grad():  # what was there before is replaced
        for parameter in inflated.parameters():
            parameter.fill_(9)
    load_image_weights(inflated, saved(tmp_path, weights))
    state = inflated.state_dict()
    for i in range(DEPTH):
        for name in ("qkv.weight", "qkv.bias", "proj.weight", "proj.bias"):
            expected = weights[f"blocks.{i}.attn.{name}"]
            assert torch.equal(state[f"blocks.{i}.attn.{name}"], expected)
            assert torch.equal(state[f"blocks.{i}.temporal_attn.{name}"], expected)
        for name in ("weight", "bias"):
            expected = weights[f"blocks.{i}.norm1.{name}"]
            assert torch.equal(state[f"blocks.{i}.norm1.{name}"], expected)
            assert torch.equal(state[f"blocks.{i}.temporal_norm1.{name}"], expected)
            assert not state[f"blocks.{i}.temporal_fc.{name}"].any()
    assert not state["time_embed"].any()
    assert (state["fc.weight"] == 9).all()


def test_a_timm_transformer_is_inflated(tmp_path: Path) -> None:
    import timm

    image_network = timm.models.vision_transformer.VisionTransformer(
        img_size=SIZE, patch_size=PATCH, embed_dim=DIM, depth=DEPTH, num_heads=HEADS
    ).eval()
    with torch.no_grad():
        for parameter in image_network.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    inflated = network(saved(tmp_path, image_network.state_dict()))
    inflated.load_pretrained()
    image = torch.randn(2, 3, SIZE, SIZE)
    expected = image_network.forward_features(image)[:, 0]
    torch.testing.assert_close(inflated.features(still(image)), expected, rtol=1e-4, atol=1e-4)


def test_positions_are_brought_to_the_grid(tmp_path: Path) -> None:
    weights = image_weights(grid=2)
    inflated = network(saved(tmp_path, weights), size=32)
    inflated.load_pretrained()
    position = weights["pos_embed"]
    assert torch.equal(inflated.pos_embed[:, 0], position[:, 0])
    grid = inflated.pos_embed[0, 1:].view(4, 4, DIM)
    assert torch.equal(grid[0, 1], position[0, 1])
    assert torch.equal(grid[1, 2], position[0, 2])
    assert torch.equal(grid[3, 0], position[0, 3])


# --- weights that do not fit ----------------------------------------------------------------------


def changed(**changes: Tensor | None) -> dict[str, Tensor]:
    return {name: x for name, x in {**image_weights(), **changes}.items() if x is not None}


@pytest.mark.parametrize(
    ("weights", "named"),
    [
        (image_weights(patch=4), "patch_embed.proj.weight"),
        (changed(**{"norm.bias": None}), "norm.bias"),
        (changed(**{"blocks.2.norm1.bias": torch.zeros(DIM)}), "blocks.2.norm1.bias"),
        (changed(pos_embed=torch.zeros(1, 6, DIM)), "pos_embed"),
        (changed(pos_embed=torch.zeros(1, 5, 2 * DIM)), "pos_embed"),
    ],
)
def test_weights_of_another_network_are_an_error(tmp_path: Path, weights: dict[str, Tensor], named: str) -> None:
    found = network(saved(tmp_path, weights))
    before = {name: value.clone() for name, value in found.state_dict().items()}
    with pytest.raises(UserError, match=named):
        found.load_pretrained()
    assert all(torch.equal(value, before[name]) for name, value in found.state_dict().items())


def test_a_file_of_something_else_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "image.pth").write_text("not weights")
    with pytest.raises(UserError, match=r"image\.pth is no file of weights"):
        load_image_weights(network(), str(tmp_path / "image.pth"))
    with pytest.raises(UserError, match="holds no state dict"):
        load_image_weights(network(), saved(tmp_path, {"epoch": 3}))


# --- weights that cannot be had -------------------------------------------------------------------


def test_no_source_is_no_remark() -> None:
    assert list(network().load_pretrained()) == []


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent\.pth: there is no such file"):
        network(str(tmp_path / "absent.pth")).load_pretrained()


def test_without_timm_its_weights_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match="timm:vit_base_patch16_224 needs the package timm"):
        network("timm:vit_base_patch16_224").load_pretrained()


def pretend_timm(monkeypatch: pytest.MonkeyPatch, create_model: Any) -> None:
    def get_pretrained_cfg(name: str, allow_unregistered: bool = True) -> None:
        if name != "known" and not allow_unregistered:
            raise RuntimeError("not registered")

    timm = types.ModuleType("timm")
    timm.__dict__.update(__version__="1", get_pretrained_cfg=get_pretrained_cfg, create_model=create_model)
    monkeypatch.setitem(sys.modules, "timm", timm)


def test_offline_it_says_where_to_fetch_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def create_model(name: str, pretrained: bool) -> None:
        raise OSError("no route to host")

    pretend_timm(monkeypatch, create_model)
    with pytest.raises(UserError, match=r"cannot be downloaded here \(OSError\).*HF_HOME.*create_model\('known'"):
        network("timm:known").load_pretrained()


def test_a_name_that_timm_does_not_know_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_timm(monkeypatch, None)
    with pytest.raises(UserError, match="no weights called 'unknown'"):
        load_image_weights(network(), "timm:unknown")


def test_downloaded_weights_are_inflated(monkeypatch: pytest.MonkeyPatch) -> None:
    class Downloaded:
        def state_dict(self) -> dict[str, Tensor]:
            return image_weights()

    pretend_timm(monkeypatch, lambda name, pretrained: Downloaded())
    found = network("timm:known")
    (remark,) = found.load_pretrained()
    assert "timm:known" in remark
    assert torch.equal(found.cls_token, image_weights()["cls_token"])


def test_timm_has_the_weights_that_the_yaml_names() -> None:
    import timm

    assert timm.get_pretrained_cfg("vit_base_patch16_224.orig_in21k_ft_in1k", allow_unregistered=False)
    with pytest.raises(UserError, match="has no weights called"):
        load_image_weights(network(), "timm:vit_base_patch16_224.absent")
