"""Numeric self-test: each layer's gradients in the chosen precision and memory format, against fp32.

3D convolutions are among the less travelled paths of the libraries below. On AVX-512 CPUs bf16 returned wrong weight
gradients for an output of two frames, silently; GPUs have had their own case (pytorch #163539). Every layer with
parameters is therefore run twice on the input that it gets from a real batch, with the same cotangent, and its
output and gradients are compared before training starts.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ssar.engine.layout import channels_last

M = TypeVar("M", bound=nn.Module)

TOLERANCE = {torch.float32: 4e-3, torch.float16: 1e-2, torch.bfloat16: 5e-2}
"""Largest relative error (of the norm) that rounding explains; fp32 has room for TF32. A wrong kernel is off by 1."""

SLACK = 4.0
"""How many times the effect of rounding the inputs may come on top: some gradients are small differences."""


@dataclass(frozen=True)
class Mismatch:
    """One layer's quantity that is not what fp32 gives."""

    layer: str
    quantity: str
    error: float  # relative, of the norm; inf where not finite

    def __str__(self) -> str:
        return f"{self.layer}: {self.quantity}, relative error {self.error:.2g}"


def mismatches(module: M, forward: Callable[[M], object], dtype: torch.dtype, channels_last_3d: bool) -> list[Mismatch]:
    """Every layer of a module whose output or gradients are wrong in `dtype` and memory format.

    `forward` runs a copy of the module on a real, small batch; the module itself is left untouched.
    """
    probe = copy.deepcopy(module)
    found = []
    with _captured_inputs(probe) as inputs:
        forward(probe)
    for name, layer in probe.named_modules():
        if name in inputs:
            found += _compare(name, layer, inputs.pop(name), dtype, channels_last_3d)
    return found


def keep_in_fp32(module: nn.Module, layers: list[str]) -> None:
    """Let the named layers compute in fp32 and the default memory format, whatever surrounds them.

    A layer's class is exchanged, not its `forward`, so that copies of the module behave alike.
    """
    for name in layers:
        layer = module.get_submodule(name)
        layer.to(memory_format=torch.contiguous_format)
        layer.__class__ = _in_fp32(type(layer))


def _in_fp32(kind: type[nn.Module]) -> type[nn.Module]:
    def forward(self: nn.Module, *inputs: Tensor) -> Any:
        with torch.autocast(inputs[0].device.type, enabled=False):
            return kind.forward(self, *(x.float().contiguous() for x in inputs))

    return type(f"{kind.__name__}InFp32", (kind,), {"forward": forward})


@contextmanager
def _captured_inputs(module: nn.Module) -> Iterator[dict[str, tuple[Tensor, ...]]]:
    """The positional inputs of each layer's first call within the context. A layer has trained parameters of its own
    and no parts; it is taken only if its inputs are floating point tensors."""
    inputs: dict[str, tuple[Tensor, ...]] = {}

    def hook(name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def keep(_: nn.Module, given: tuple[Any, ...]) -> None:
            if name not in inputs and all(isinstance(x, Tensor) and x.is_floating_point() for x in given):
                inputs[name] = tuple(x.detach().clone() for x in given)

        return keep

    layers = [(n, m) for n, m in module.named_modules() if not list(m.children()) and _trained(m)]
    hooks = [layer.register_forward_pre_hook(hook(name)) for name, layer in layers]
    try:
        with torch.no_grad():
            yield inputs
    finally:
        for handle in hooks:
            handle.remove()


def _trained(layer: nn.Module) -> bool:
    return any(p.requires_grad for p in layer.parameters())


def _compare(
    name: str, layer: nn.Module, inputs: tuple[Tensor, ...], dtype: torch.dtype, channels_last_3d: bool
) -> list[Mismatch]:
    device = inputs[0].device.type
    # rounded once, so that both sides start from the same numbers
    inputs = tuple(x.to(dtype).float() for x in inputs)
    with torch.no_grad():
        output = layer(*inputs)
    generator = torch.Generator(output.device).manual_seed(0)
    # drawn rather than from the loss: no layer is left out, and none is judged by a gradient that cancels out
    cotangent = torch.randn(output.shape, generator=generator, device=output.device).to(dtype).float()
    reference = _gradients(layer, inputs, cotangent)

    grain = torch.finfo(dtype).eps
    noise = [torch.rand(x.shape, generator=generator, device=x.device) * 2 - 1 for x in inputs]
    nudged = _gradients(layer, tuple(x * (1 + grain * n) for x, n in zip(inputs, noise, strict=True)), cotangent)

    tested_inputs, tested_layer = tuple(x.to(dtype) for x in inputs), copy.deepcopy(layer)
    if channels_last_3d:
        tested_inputs, tested_layer = tuple(map(channels_last, tested_inputs)), channels_last(tested_layer)
    with nullcontext() if dtype == torch.float32 else torch.autocast(device, dtype=dtype):
        tested = _gradients(tested_layer, tested_inputs, cotangent)

    found = []
    for quantity, right in reference.items():
        size = right.norm()
        error = (tested[quantity].float() - right).norm()
        allowed = TOLERANCE[dtype] * size + SLACK * (nudged[quantity] - right).norm()
        if not error <= allowed:  # also when the error is NaN
            found.append(Mismatch(name, quantity, float((error / size).nan_to_num(nan=math.inf, posinf=math.inf))))
    return found


def _gradients(layer: nn.Module, inputs: tuple[Tensor, ...], cotangent: Tensor) -> dict[str, Tensor]:
    """The layer's output, and the gradients of <output, cotangent> for its inputs and parameters."""
    leaves = [x.detach().requires_grad_() for x in inputs]
    parameters = {name: p for name, p in layer.named_parameters() if p.requires_grad}
    names = [f"gradient of input {i}" for i in range(len(leaves))] + [f"gradient of {name}" for name in parameters]
    with torch.enable_grad():
        output = layer(*leaves)
        gradients = torch.autograd.grad(output, [*leaves, *parameters.values()], cotangent.to(output.dtype))
    return {"output": output.detach(), **dict(zip(names, gradients, strict=True))}
