"""TimeSformer: a vision transformer for video with divided space-time attention (ICML 2021).

Parameters are named as in the released TimeSformer and in timm's image transformers, but for the classifier `fc`.
Shapes: B clips, T frames, N = H'W' patches of a frame, D channels of a token.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssar.config import ModelConfig
from ssar.errors import UserError
from ssar.models.backbone import Backbone, Features
from ssar.models.vit_weights import load_image_weights, resized_grid

EPS = 1e-6
"""Of the layer normalisations, as in ViT."""
STD = 0.02
"""Of the truncated normal distribution that weights start from, as in ViT."""


class DropPath(nn.Module):
    """Leaves a residual branch out, for each clip by itself, and scales it up where it stays."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, branch: Tensor) -> Tensor:
        """(B, ...) to the same."""
        if self.rate == 0 or not self.training:
            return branch
        keep = 1 - self.rate
        kept = branch.new_empty((len(branch),) + (1,) * (branch.dim() - 1)).bernoulli_(keep)
        return branch * kept.div_(keep or 1)


class Attention(nn.Module):
    """Multi-head self-attention (TimeSformer Eq. 2-4, 7-8)."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Sequences (S, L, D), each attending to itself, to the same shape."""
        sequences, length, dim = x.shape
        heads = self.qkv(x).view(sequences, length, 3, self.heads, dim // self.heads)
        query, key, value = heads.permute(2, 0, 3, 1, 4).unbind()
        mixed = F.scaled_dot_product_attention(query, key, value)
        out: Tensor = self.proj(mixed.transpose(1, 2).reshape(x.shape))
        return out


class MLP(nn.Module):
    """Two layers with GELU between (TimeSformer Eq. 9)."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) to the same."""
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class Block(nn.Module):
    """Divided space-time attention and MLP, each pre-normalised with a residual (TimeSformer §3, Figure 2)."""

    def __init__(self, dim: int, heads: int, mlp_ratio: float, drop_path: float) -> None:
        super().__init__()
        self.temporal_norm1 = nn.LayerNorm(dim, eps=EPS)
        self.temporal_attn = Attention(dim, heads)
        self.temporal_fc = nn.Linear(dim, dim)
        self.norm1 = nn.LayerNorm(dim, eps=EPS)
        self.attn = Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, eps=EPS)
        self.mlp = MLP(dim, int(dim * mlp_ratio))
        self.drop_path = DropPath(drop_path)

    def forward(self, tokens: Tensor, frames: int) -> Tensor:
        """The CLS token and the patches of all T `frames`, (B, 1 + TN, D), to the same."""
        cls, patches = tokens[:, :1], tokens[:, 1:].unflatten(1, (frames, -1))
        patches = patches + self.drop_path(self._over_time(patches))
        tokens = torch.cat([cls, patches.flatten(1, 2)], dim=1) + self.drop_path(self._over_space(cls, patches))
        return tokens + self.drop_path(self.mlp(self.norm2(tokens)))

    def _over_time(self, patches: Tensor) -> Tensor:
        """Each patch attends to those at its place in all frames (Eq. 11; as released, without the CLS token).

        (B, T, N, D) to the same.
        """
        clips, frames, places, dim = patches.shape
        tracks = patches.transpose(1, 2).reshape(clips * places, frames, dim)
        mixed = self.temporal_fc(self.temporal_attn(self.temporal_norm1(tracks)))
        return mixed.view(clips, places, frames, dim).transpose(1, 2)

    def _over_space(self, cls: Tensor, patches: Tensor) -> Tensor:
        """Each patch attends to its frame and the CLS token, which joins every frame and is averaged over them.

        (B, 1, D) and (B, T, N, D) to (B, 1 + TN, D).
        """
        joined = torch.cat([cls[:, None].expand(-1, patches.shape[1], -1, -1), patches], dim=2)
        mixed = self.attn(self.norm1(joined.flatten(0, 1))).view(joined.shape)
        return torch.cat([mixed[:, :, 0].mean(dim=1, keepdim=True), mixed[:, :, 1:].flatten(1, 2)], dim=1)


class PatchEmbedding(nn.Module):
    """Cuts frames into patches and embeds each (the E of TimeSformer Eq. 1)."""

    def __init__(self, dim: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, patch, patch)

    def forward(self, frames: Tensor) -> Tensor:
        """Frames (S, 3, H, W) to patches (S, D, H', W')."""
        out: Tensor = self.proj(frames)
        return out


class TimeSformer(Backbone):
    """Patch embedding, positions in space and time, blocks, normalisation, the CLS token, dropout, classifier.

    Raises UserError where `heads` does not divide `dim`, or `patch` not `size`.
    """

    def __init__(self, config: ModelConfig, num_classes: int) -> None:
        super().__init__()
        vit = config.vit
        if vit.dim % vit.heads:
            raise UserError(f"model.vit.dim ({vit.dim}) must be a multiple of model.vit.heads ({vit.heads})")
        if vit.size % vit.patch:
            raise UserError(f"model.vit.size ({vit.size}) must be a multiple of model.vit.patch ({vit.patch})")
        self.pretrained = vit.pretrained
        self.side = vit.size // vit.patch
        self.patch_embed = PatchEmbedding(vit.dim, vit.patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, vit.dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + self.side**2, vit.dim))
        self.time_embed = nn.Parameter(torch.zeros(1, vit.frames, vit.dim))
        rates = [vit.drop_path * i / max(1, vit.depth - 1) for i in range(vit.depth)]
        self.blocks = nn.ModuleList(Block(vit.dim, vit.heads, vit.mlp_ratio, rate) for rate in rates)
        self.norm = nn.LayerNorm(vit.dim, eps=EPS)
        self.dropout = nn.Dropout(config.dropout)
        self.fc = nn.Linear(vit.dim, num_classes)
        self._initialise()

    def _initialise(self) -> None:
        """Truncated normal weights, zero biases; time counts for nothing until it has been learnt.

        With `temporal_fc` and `time_embed` at zero the network is the image transformer, averaged over frames. The
        released code means to leave the first block's `temporal_fc` out of this, but does not.
        """
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=STD)
                nn.init.zeros_(module.bias)
        for embedding in (self.cls_token, self.pos_embed):
            nn.init.trunc_normal_(embedding, std=STD)
        for block in self.blocks:
            assert isinstance(block, Block)
            nn.init.zeros_(block.temporal_fc.weight)

    def embed(self, x: Tensor) -> Tensor:
        """Clips (B, 3, T, H, W) to patch embeddings (B, T, N, D), row by row, before positions are added."""
        patches: Tensor = self.patch_embed(x.transpose(1, 2).flatten(0, 1))
        return patches.flatten(2).transpose(1, 2).unflatten(0, (len(x), x.shape[2]))

    def encode(self, tokens: Tensor, grid: tuple[int, int] | None = None) -> Features:
        """Patch embeddings (B, T, N, D) to features and logits: all that follows `embed`.

        `grid` is (H', W'), a square where it is not given. `stages` holds one map (B, D, T, H', W'): the last patches
        after the final normalisation. `pooled` is the CLS token after it.
        """
        frames, places = tokens.shape[1:3]
        grid = grid or (math.isqrt(places), math.isqrt(places))
        tokens = self._placed(tokens, grid)
        for block in self.blocks:
            tokens = block(tokens, frames)
        tokens = self.norm(tokens)
        pooled, patches = tokens[:, 0], tokens[:, 1:]
        return Features([patches.transpose(1, 2).unflatten(2, (frames, *grid))], pooled, self.head(pooled))

    def _placed(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """The CLS token and the patches with their positions in space and time (Eq. 1), (B, 1 + TN, D)."""
        cls = self.cls_token + self.pos_embed[:, :1]
        space = resized_grid(self.pos_embed[:, 1:], (self.side, self.side), grid)
        time = resized_grid(self.time_embed, (self.time_embed.shape[1],), (tokens.shape[1],))
        patches = tokens + space[:, None] + time[:, :, None]
        return torch.cat([cls.expand(len(tokens), -1, -1), patches.flatten(1, 2)], dim=1)

    def features(self, x: Tensor) -> Tensor:
        """Clips (B, 3, T, H, W) to the CLS token (B, D) before dropout and classifier."""
        return self.forward_all(x).pooled

    def head(self, features: Tensor) -> Tensor:
        """Pooled features (B, D) to logits (B, K)."""
        logits: Tensor = self.fc(self.dropout(features))
        return logits

    def forward_all(self, x: Tensor) -> Features:
        """One pass over clips (B, 3, T, H, W) with everything that a loss may want of it."""
        patch = self.patch_embed.proj.kernel_size
        return self.encode(self.embed(x), (x.shape[3] // patch[0], x.shape[4] // patch[1]))

    def load_pretrained(self) -> Sequence[str]:
        """Inflate the image weights of `model.vit.pretrained`, where it names any; see `vit_weights`."""
        return load_image_weights(self, self.pretrained) if self.pretrained else ()

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile in place, block by block: they are alike, so that one compilation serves all."""
        for block in self.blocks:
            block.compile(*args, **kwargs)
