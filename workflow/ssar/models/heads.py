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


class MLP(nn.Sequential):
    """g of TimeBalance (B.1.2): linear, batch norm, ReLU, linear without bias, batch norm.

    (B, inputs) to (B, outputs). The initialisation is PyTorch's, as the paper names none.
    """

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__(
            nn.Linear(inputs, hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, outputs, bias=False),
            nn.BatchNorm1d(outputs),
        )

    def forward(self, input: Tensor) -> Tensor:
        """Pooled features (B, inputs) to embeddings (B, outputs), not yet of length one."""
        embedding: Tensor = super().forward(input)
        return embedding
