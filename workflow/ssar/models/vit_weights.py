"""Weights of an image transformer, read and inflated to divided space-time attention."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from ssar.errors import UserError
from ssar.models.backbone import CLASSIFIER

if TYPE_CHECKING:
    from ssar.models.timesformer import TimeSformer

TIMM = "timm:"
CONTAINERS = ("model", "state_dict")
"""Keys under which published checkpoints keep the weights."""
SCRATCH = "give a file of weights, or null to start from scratch"
HEADS = ("head.", "head_dist.", "pre_logits.", CLASSIFIER)
"""How the names of the parameters start that turn an image's features into its class."""


def load_image_weights(network: TimeSformer, source: str) -> list[str]:
    """Start `network` from the weights of an image transformer, and say in one remark what was done.

    `source` is a file of weights (a state dict, or a dict with one under `model` or `state_dict`) or `timm:` and a
    model's name. Raises UserError for weights that cannot be had (no such file, no timm, no connection), since a run
    without them is another run, for such as do not fit, and for a name that timm does not know.
    """
    image = _from_timm(source.removeprefix(TIMM)) if source.startswith(TIMM) else _from_file(Path(source))
    own = {name: value for name, value in network.state_dict().items() if not name.startswith(CLASSIFIER)}
    network.load_state_dict({**network.state_dict(), **inflate(image, own, source)})
    return [f"image weights {source}, inflated to divided space-time attention"]


def _from_file(path: Path) -> Mapping[str, Tensor]:
    if not path.is_file():
        raise UserError(f"model.vit.pretrained: {path}: there is no such file; {SCRATCH}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # zip, pickle and torch each have their own for a foreign file
        raise UserError(
            f"model.vit.pretrained: {path} is no file of weights ({type(error).__name__}); give a state dict that "
            "torch.save wrote"
        ) from error
    for key in CONTAINERS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise UserError(f"model.vit.pretrained: {path} holds no state dict, nor one under {' or '.join(CONTAINERS)}")
    return content


def _from_timm(name: str) -> Mapping[str, Tensor]:
    try:
        import timm
    except ImportError:
        raise UserError(
            f"model.vit.pretrained: {TIMM}{name} needs the package timm; install it, or {SCRATCH}"
        ) from None
    try:
        timm.get_pretrained_cfg(name, allow_unregistered=False)
    except RuntimeError as error:
        raise UserError(
            f"model.vit.pretrained: timm {timm.__version__} has no weights called {name!r} ({error}); "
            "timm.list_models(pretrained=True) lists them"
        ) from error
    try:
        state: Mapping[str, Tensor] = timm.create_model(name, pretrained=True).state_dict()
    except Exception as error:  # each way of downloading has its own
        raise UserError(
            f"model.vit.pretrained: {TIMM}{name} cannot be downloaded here ({type(error).__name__}); where there is a "
            f'connection, fetch it into a folder HF_HOME that this machine sees, too, by `python -c "import timm; '
            f"timm.create_model('{name}', pretrained=True)\"`, or {SCRATCH}"
        ) from error
    return state


def inflate(image: Mapping[str, Tensor], own: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """Weights for the body `own` of a TimeSformer from those of an image transformer.

    What both have is copied, positions of another grid by the nearest one. Each block's temporal attention and its
    normalisation start as the spatial ones, behind a `temporal_fc` of zero; so do the positions in time (all as in the
    released TimeSformer). Raises UserError that names parameters which are missing, unknown or of another shape.
    """
    image = {name: value for name, value in image.items() if not name.startswith(HEADS)}
    inflated, used, odd = {}, set(), set()
    for name, value in own.items():
        if "temporal_fc." in name or name == "time_embed":
            inflated[name] = torch.zeros_like(value)
            continue
        spatial = name.replace("temporal_attn.", "attn.").replace("temporal_norm1.", "norm1.")
        used.add(spatial)
        found = image.get(spatial)
        if found is not None and name == "pos_embed" and found.dim() == 3 and found.shape[2] == value.shape[2]:
            old, new = (math.isqrt(x.shape[1] - 1) for x in (found, value))
            if old**2 == found.shape[1] - 1:
                found = torch.cat([found[:, :1], resized_grid(found[:, 1:], (old, old), (new, new))], dim=1)
        if found is None or found.shape != value.shape:
            odd.add(spatial)
        else:
            inflated[name] = found
    odd |= image.keys() - used
    if odd:
        raise UserError(
            f"model.vit.pretrained: {source} does not fit the network of model.vit; these parameters are missing, "
            f"unknown or of another shape: {sorted(odd)[:5]}"
        )
    return inflated


def resized_grid(embedding: Tensor, old: tuple[int, ...], new: tuple[int, ...]) -> Tensor:
    """Position embeddings (1, prod(old), D) of one grid for another, by the nearest position (TimeSformer code)."""
    if old == new:
        return embedding
    grid = embedding.transpose(1, 2).unflatten(2, old)
    return F.interpolate(grid, size=new, mode="nearest").flatten(2).transpose(1, 2)
