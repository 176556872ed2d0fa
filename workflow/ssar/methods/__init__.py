"""The registry of methods: a plain dict from a name to its class and its options.

A new method is one file here, one yaml in ``config/methods`` and one line below; options that no other method
has stand in a file under ``options``. The class is named by its import path, so that reading the registry does not
import torch.
"""

from __future__ import annotations

import difflib
import importlib
from typing import TYPE_CHECKING, NamedTuple

from ssar.errors import UserError
from ssar.methods.options import (
    ACLMTLOptions,
    CMPLOptions,
    FinetuneOptions,
    FixMatchOptions,
    LTGOptions,
    MeanTeacherOptions,
    MethodOptions,
    MvPLOptions,
    PretrainingOptions,
    PseudoLabelBaselineOptions,
    RotationOptions,
    SupervisedOptions,
    SVFormerOptions,
    TimeBalanceOptions,
)

if TYPE_CHECKING:
    from ssar.methods.base import Method


class Entry(NamedTuple):
    """Where a method's class is, and which options it takes."""

    path: str
    options: type[MethodOptions]


METHODS: dict[str, Entry] = {
    "supervised": Entry("ssar.methods.supervised:Supervised", SupervisedOptions),
    "fixmatch": Entry("ssar.methods.fixmatch:FixMatch", FixMatchOptions),
    "ltg": Entry("ssar.methods.ltg:LTG", LTGOptions),
    "pseudo_label": Entry("ssar.methods.pseudo_label:PseudoLabel", PseudoLabelBaselineOptions),
    "mean_teacher": Entry("ssar.methods.mean_teacher:MeanTeacher", MeanTeacherOptions),
    "mvpl": Entry("ssar.methods.mvpl:MvPL", MvPLOptions),
    "cmpl": Entry("ssar.methods.cmpl:CMPL", CMPLOptions),
    "timebalance_ssl": Entry("ssar.methods.timebalance_ssl:Pretraining", PretrainingOptions),
    "rotation_ssl": Entry("ssar.methods.rotation_ssl:Rotation", RotationOptions),
    "finetune": Entry("ssar.methods.supervised:Supervised", FinetuneOptions),
    "timebalance": Entry("ssar.methods.timebalance:TimeBalance", TimeBalanceOptions),
    "svformer": Entry("ssar.methods.svformer:SVFormer", SVFormerOptions),
    "acl_mtl": Entry("ssar.methods.acl_mtl:ACLMTL", ACLMTLOptions),
}


def entry(name: object) -> Entry:
    """The registry's entry for a method. Raises UserError that lists the known names."""
    if not isinstance(name, str) or name not in METHODS:
        near = difflib.get_close_matches(str(name), METHODS, 1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UserError(f"unknown method {name!r}.{hint} Known methods: {', '.join(sorted(METHODS))}")
    return METHODS[name]


def options_class(name: object) -> type[MethodOptions]:
    """The options model of a method."""
    return entry(name).options


def method_class(name: str) -> type[Method]:
    """The method's class; imports its file, and with it torch."""
    module, _, attribute = entry(name).path.partition(":")
    loaded: type[Method] = getattr(importlib.import_module(module), attribute)
    return loaded
