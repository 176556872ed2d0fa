"""model.pt: a finished run's weights with the settings that give them a meaning."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from ssar.config import RunConfig, canonical, parse_run
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
        torch.save(content, temporary)


def load_predictor(path: str | Path) -> tuple[RunConfig, list[str], nn.Module]:
    """The run's settings, its classes in label order, and the evaluated network, on the CPU in evaluation mode.

    Raises UserError for a file that is missing or is no model of this program.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        config, classes = parse_run(content["config"]), content["classes"]
        method = method_class(config.method)(config, len(classes))
        method.predictor.load_state_dict(content["predictor"])
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such model; train the run first") from None
    except Exception as error:  # zip, pickle, torch and pydantic each have their own for a foreign file
        raise UserError(f"{path} is no model of ssar ({type(error).__name__}: {error}); train the run again") from error
    return config, classes, method.predictor.eval()
