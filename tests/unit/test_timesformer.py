"""TimeSformer against its equations in loops, its parameter count, its initialisation."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ssar.config import ModelConfig
from ssar.errors import UserError
from ssar.models.build import build
from ssar.models.teacher import Teacher
from ssar.models.timesformer import Block, DropPath, TimeSformer
from ssar.models.vit_weights import resized_grid

DIM, HEADS, DEPTH, PATCH, SIZE, FRAMES, CLASSES = 8, 2, 2, 4, 8, 3, 5


def config(dropout: float = 0.0, **vit: object) -> ModelConfig:
    tiny = {"dim": DIM, "depth": DEPTH, "heads": HEADS, "patch": PATCH, "size": SIZE, "frames": FRAMES}
    return ModelConfig.model_validate({"arch": "timesformer", "dropout": dropout, "vit": {**tiny, **vit}})


def network(**changes: object) -> TimeSformer:
    torch.manual_seed(0)
    return TimeSformer(config(**changes), CLASSES)  # type: ignore[arg-type]


def random_network(**changes: object) -> TimeSformer:
    """Every parameter random, temporal_fc and time_embed as well; float64, evaluation mode."""
    found = network(**changes).double().eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.copy_(0.4 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return found


def clips(count: int = 2, frames: int = FRAMES, height: int = SIZE, width: int = SIZE) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(count, 3, frames, height, width, generator=generator, dtype=torch.float64)


# --- the equations, token by token ----------------------------------------------------------------


def normalised(z: Tensor, p: dict[str, Tensor], name: str) -> Tensor:
    centred = z - z.sum() / DIM
    return centred / ((centred**2).sum() / DIM + 1e-6) ** 0.5 * p[f"{name}.weight"] + p[f"{name}.bias"]


def linear(z: Tensor, p: dict[str, Tensor], name: str) -> Tensor:
    return p[f"{name}.weight"] @ z + p[f"{name}.bias"]


def attended(sequence: list[Tensor], p: dict[str, Tensor], name: str) -> list[Tensor]:
    """Eq. 2-4, 5, 7 and the projection of Eq. 8 of a sequence that attends to itself."""
    width = DIM // HEADS
    projected = [linear(z, p, f"{name}.qkv") for z in sequence]
    out = []
    for mine in projected:
        heads = []
        for a in range(HEADS):
            query = mine[a * width : (a + 1) * width]
            keys = [other[DIM + a * width : DIM + (a + 1) * width] for other in projected]
            values = [other[2 * DIM + a * width : 2 * DIM + (a + 1) * width] for other in projected]
            exps = [torch.exp(torch.dot(query, key) / math.sqrt(width)) for key in keys]
            heads.append(sum(e / sum(exps) * value for e, value in zip(exps, values, strict=True)))
        out.append(linear(torch.cat(heads), p, f"{name}.proj"))  # type: ignore[arg-type]
    return out


def mlp(z: Tensor, p: dict[str, Tensor], name: str) -> Tensor:
    hidden = linear(z, p, f"{name}.fc1")
    return linear(0.5 * hidden * (1 + torch.erf(hidden / math.sqrt(2))), p, f"{name}.fc2")


def reference(p: dict[str, Tensor], clip: Tensor) -> tuple[Tensor, dict[tuple[int, int, int], Tensor], Tensor]:
    """One clip (3, T, H, W): the CLS token, the patches by (t, row, column), the logits."""
    frames, side = clip.shape[1], clip.shape[2] // PATCH
    cls = p["cls_token"][0, 0] + p["pos_embed"][0, 0]
    z = {}
    for t in range(frames):
        for i in range(side):
            for j in range(side):
                patch = clip[:, t, i * PATCH : (i + 1) * PATCH, j * PATCH : (j + 1) * PATCH]
                kernel, bias = p["patch_embed.proj.weight"], p["patch_embed.proj.bias"]
                embedded = torch.stack([(kernel[d] * patch).sum() + bias[d] for d in range(DIM)])
                z[t, i, j] = embedded + p["pos_embed"][0, 1 + i * side + j] + p["time_embed"][0, t]
    for block in (f"blocks.{number}" for number in range(DEPTH)):
        over_time = {}
        for i in range(side):
            for j in range(side):
                track = [normalised(z[t, i, j], p, f"{block}.temporal_norm1") for t in range(frames)]
                for t, mixed in enumerate(attended(track, p, f"{block}.temporal_attn")):
                    over_time[t, i, j] = z[t, i, j] + linear(mixed, p, f"{block}.temporal_fc")
        places = [(i, j) for i in range(side) for j in range(side)]
        cls_of_frames, z = [], {}
        for t in range(frames):
            frame = [cls, *(over_time[t, i, j] for i, j in places)]
            first, *others = attended([normalised(x, p, f"{block}.norm1") for x in frame], p, f"{block}.attn")
            cls_of_frames.append(first)
            for (i, j), mixed in zip(places, others, strict=True):
                z[t, i, j] = over_time[t, i, j] + mixed
        cls = cls + sum(cls_of_frames) / frames
        cls = cls + mlp(normalised(cls, p, f"{block}.norm2"), p, f"{block}.mlp")
        z = {k: x + mlp(normalised(x, p, f"{block}.norm2"), p, f"{block}.mlp") for k, x in z.items()}
    cls = normalised(cls, p, "norm")
    return cls, {key: normalised(x, p, "norm") for key, x in z.items()}, linear(cls, p, "fc")


def test_forward_and_gradients_are_those_of_the_equations() -> None:
    found, (x,) = random_network(), clips(1)
    features = found.forward_all(x[None])
    weight = torch.randn(CLASSES, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    (features.logits[0] * weight).sum().backward()

    p = {name: value.detach().clone().requires_grad_() for name, value in found.named_parameters()}
    cls, patches, logits = reference(p, x)
    torch.testing.assert_close(features.pooled[0], cls, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(features.logits[0], logits, rtol=1e-9, atol=1e-10)
    for (t, i, j), patch in patches.items():
        torch.testing.assert_close(features.stages[-1][0, :, t, i, j], patch, rtol=1e-9, atol=1e-10)
    (logits * weight).sum().backward()
    for name, parameter in found.named_parameters():
        torch.testing.assert_close(parameter.grad, p[name].grad, rtol=1e-8, atol=1e-9, msg=name)


# --- parts ----------------------------------------------------------------------------------------


def test_embed_then_encode_is_the_whole_pass() -> None:
    found, x = random_network(), clips()
    whole, parts = found.forward_all(x), found.encode(found.embed(x))
    assert found.embed(x).shape == (2, FRAMES, (SIZE // PATCH) ** 2, DIM)
    assert whole.stages[-1].shape == (2, DIM, FRAMES, SIZE // PATCH, SIZE // PATCH)
    assert torch.equal(whole.logits, parts.logits)
    assert torch.equal(whole.stages[-1], parts.stages[-1])
    assert torch.equal(found(x), whole.logits)
    assert torch.equal(found.features(x), whole.pooled)
    assert torch.equal(found.head(whole.pooled), whole.logits)


def test_clips_do_not_meet() -> None:
    found, x = random_network(), clips()
    torch.testing.assert_close(found(x)[:1], found(x[:1]))


def expected_parameters(dim: int, depth: int, patch: int, size: int, frames: int, classes: int) -> dict[str, int]:
    """Names as in timm and TimeSformer, `fc` for the classifier."""
    linear = {"attn.qkv": (dim, 3 * dim), "attn.proj": (dim, dim), "temporal_fc": (dim, dim)}
    linear |= {"temporal_attn.qkv": (dim, 3 * dim), "temporal_attn.proj": (dim, dim)}
    linear |= {"mlp.fc1": (dim, 4 * dim), "mlp.fc2": (4 * dim, dim)}
    found = {"cls_token": dim, "pos_embed": ((size // patch) ** 2 + 1) * dim, "time_embed": frames * dim}
    found |= {"patch_embed.proj.weight": 3 * patch * patch * dim, "patch_embed.proj.bias": dim}
    for i in range(depth):
        for name, (inputs, outputs) in linear.items():
            found |= {f"blocks.{i}.{name}.weight": inputs * outputs, f"blocks.{i}.{name}.bias": outputs}
        for name in ("norm1", "norm2", "temporal_norm1"):
            found |= {f"blocks.{i}.{name}.weight": dim, f"blocks.{i}.{name}.bias": dim}
    return found | {"norm.weight": dim, "norm.bias": dim, "fc.weight": dim * classes, "fc.bias": classes}


@pytest.mark.parametrize(("dim", "heads", "millions"), [(768, 12, 121.4), (384, 6, 30.7)])
def test_parameters_of_vit_b_and_vit_s(dim: int, heads: int, millions: float) -> None:
    with torch.device("meta"):
        found = build(ModelConfig.model_validate({"arch": "timesformer", "vit": {"dim": dim, "heads": heads}}), 400)
    counts = {name: parameter.numel() for name, parameter in found.named_parameters()}
    assert counts == expected_parameters(dim, 12, 16, 224, 8, 400)
    assert sum(counts.values()) == pytest.approx(1e6 * millions, rel=5e-3)
    assert found.width == dim


def test_at_the_start_the_order_of_frames_does_not_count() -> None:
    """temporal_fc and time_embed are zero; with random ones it does."""
    x = clips()
    for found, same in ((network().double().eval(), True), (random_network(), False)):
        assert torch.allclose(found(x), found(x.flip(2)), atol=1e-10) == same
    for block in network().blocks:
        assert isinstance(block, Block)
        assert not block.temporal_fc.weight.any()
        assert not block.temporal_fc.bias.any()


def test_every_parameter_gets_a_gradient_from_the_start() -> None:
    found = network(drop_path=0.5).train()
    found(clips().float()).sum().backward()
    assert all(parameter.grad is not None for parameter in found.parameters())


# --- other sizes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("frames", "height", "width"), [(3, 16, 16), (6, 8, 8), (2, 8, 16), (1, 12, 4)])
def test_other_clips_take_interpolated_positions(frames: int, height: int, width: int) -> None:
    features = random_network().forward_all(clips(1, frames, height, width))
    assert features.stages[-1].shape == (1, DIM, frames, height // PATCH, width // PATCH)
    assert features.logits.isfinite().all()


def test_positions_of_another_grid_are_the_nearest_ones() -> None:
    grid = torch.arange(4.0).view(1, 4, 1)  # 0 1 / 2 3
    assert resized_grid(grid, (2, 2), (2, 4)).flatten().tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert resized_grid(grid, (4,), (8,)).flatten().tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert resized_grid(grid, (4,), (2,)).flatten().tolist() == [0, 2]
    assert resized_grid(grid, (4,), (4,)) is grid


# --- regularisation -------------------------------------------------------------------------------


def test_drop_path_keeps_or_drops_a_clip_as_a_whole() -> None:
    torch.manual_seed(0)
    dropped = DropPath(0.25)(torch.ones(400, 2, 3))
    per_clip = dropped.flatten(1)
    assert (per_clip == per_clip[:, :1]).all()
    assert set(per_clip[:, 0].tolist()) == {0.0, torch.tensor(1 / 0.75).item()}
    assert (per_clip[:, 0] > 0).float().mean().item() == pytest.approx(0.75, abs=0.06)
    ones = torch.ones(2, 3)
    assert DropPath(0.25).eval()(ones) is ones
    assert not DropPath(1.0)(ones).any()


def test_drop_path_rises_linearly() -> None:
    blocks = network(depth=5, drop_path=0.2).blocks
    assert [block.drop_path.rate for block in blocks] == pytest.approx([0, 0.05, 0.1, 0.15, 0.2])  # type: ignore[union-attr]
    assert network(depth=1, drop_path=0.2).blocks[0].drop_path.rate == 0  # type: ignore[union-attr]


def test_dropout_stands_before_the_classifier_in_training_alone() -> None:
    found = network(dropout=1.0).train()
    with torch.no_grad():
        found.fc.bias.fill_(7)
    x = clips().float()
    assert torch.equal(found(x), torch.full((2, CLASSES), 7.0))
    assert not torch.equal(found.eval()(x), torch.full((2, CLASSES), 7.0))


# --- the rest -------------------------------------------------------------------------------------


def test_every_block_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[Block] = []
    monkeypatch.setattr(Block, "compile", lambda block, backend: compiled.append(block))
    found = network()
    found.compile(backend="eager")
    assert compiled == list(found.blocks)


def test_mixed_precision_is_finite_and_a_teacher_agrees() -> None:
    found, x = network().eval(), clips().float()
    assert torch.equal(Teacher.of(found)(x), found(x))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert found(x).isfinite().all()


@pytest.mark.parametrize(("change", "match"), [({"heads": 3}, "model.vit.heads"), ({"patch": 3}, "model.vit.patch")])
def test_sizes_that_do_not_divide_are_told(change: dict[str, int], match: str) -> None:
    with pytest.raises(UserError, match=match):
        network(**change)
