"""The options of each method. Values that a paper states stand in ``config/methods``; see ssar.config."""

from ssar.methods.options.acl_mtl import ACLMTLOptions
from ssar.methods.options.base import (
    FixMatchOptions,
    MethodOptions,
    PseudoLabelOptions,
    SingleStreamOptions,
    Stage,
    Stream,
    SupervisedOptions,
    Window,
)
from ssar.methods.options.baselines import MeanTeacherOptions, MvPLOptions, PseudoLabelBaselineOptions
from ssar.methods.options.cmpl import CMPLOptions
from ssar.methods.options.ltg import LTGOptions
from ssar.methods.options.svformer import SVFormerOptions
from ssar.methods.options.timebalance import FinetuneOptions, TimeBalanceOptions
from ssar.methods.options.timebalance_ssl import PretrainingOptions, RotationOptions

__all__ = [
    "ACLMTLOptions",
    "CMPLOptions",
    "FinetuneOptions",
    "FixMatchOptions",
    "LTGOptions",
    "MeanTeacherOptions",
    "MethodOptions",
    "MvPLOptions",
    "PretrainingOptions",
    "PseudoLabelBaselineOptions",
    "PseudoLabelOptions",
    "RotationOptions",
    "SVFormerOptions",
    "SingleStreamOptions",
    "Stage",
    "Stream",
    "SupervisedOptions",
    "TimeBalanceOptions",
    "Window",
]
