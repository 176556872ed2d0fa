"""model.pt: a finished run's weights with the settings that give them a meaning."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from ssar.config import Modality, RunConfig, canonical, parse_run
from ssar.engine import serial
from ssar.errors import UserError
from ssar.files import atomic
from ssar.methods import method_class


def save_model(path: Path, config: RunConfig, classes: Sequence[str], method: nn.Module, predictor: nn.Module) -> None:
    """Write the evaluated network and the whole method. They differ when the former is a moving average."""
    content = {
        "predictor": predictor.state_dict(),
        "method": method.state_dict(),
        "config": canonical(config),
        "classes": list(classes),
    }
    with atomic(path) as temporary:
        serial.save(content, temporary)


def load_predictor(path: str | Path, other: Modality | None = None) -> tuple[RunConfig, list[str], nn.Module]:
    """The run's settings, its classes in label order, and the evaluated network, on the CPU in evaluation mode.

    With `other`, the method's further network that sees this modality. Raises UserError for a file that is missing or
    is no model of this program, and for a method without such a network.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        config, classes = parse_run(content["config"]), content["classes"]
        method = method_class(config.method)(config, len(classes))
        if other is None:
            method.predictor.load_state_dict(content["predictor"])
        else:
            method.load_state_dict(content["method"])
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such model; train the run first") from None
    except Exception as error:  # zip, pickle, torch and pydantic each have their own for a foreign file
        raise UserError(f"{path} is no model of ssar ({type(error).__name__}: {error}); train the run again") from error
    if other is None:
        return config, classes, method.predictor.eval()
    if other not in method.others:
        known = ", ".join(method.others) or "none beside the evaluated one"
        raise UserError(f"{path}: a run of {config.method} has no network that sees {other}; it has: {known}")
    return config, classes, getattr(method, method.others[other]).eval()
