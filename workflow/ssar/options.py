"""Building blocks of every options model: closed groups whose fields carry a description and a source."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Probability = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]


class Closed(BaseModel):
    """Base of all option groups: an unknown key is an error, values do not change after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


def option(default: Any = ..., *, about: str, source: str = "ssar", **bounds: Any) -> Any:
    """A field with its one-line description and the place that its meaning comes from."""
    return Field(default, description=about, json_schema_extra={"source": source}, **bounds)
