"""Heads that a method puts on a backbone's pooled features."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn


class Projection(nn.Sequential):
    """Non-linear MLP for contrastive learning (LTG supplement §A; details from the released code).

    (B, inputs) to (B, widths[-1]). Linear layers carry no bias, since batch normalisation follows each;
    ReLU stands between them; the last normalisation has no scale and shift.
    """

    def __init__(self, inputs: int, widths: Sequence[int]) -> None:
        layers: list[nn.Module] = []
        for number, width in enumerate(widths, start=1):
            last = number == len(widths)
            linear = nn.Linear(inputs, width, bias=False)
            nn.init.normal_(linear.weight, std=0.01)
            layers += [linear, nn.BatchNorm1d(width, affine=not last)]
            if not last:
                layers.append(nn.ReLU(inplace=True))
            inputs = width
        super().__init__(*layers)

    def forward(self, input: Tensor) -> Tensor:
        """Pooled features (B, inputs) to embeddings (B, widths[-1]), not yet of length one."""
        embedding: Tensor = super().forward(input)
        return embedding
