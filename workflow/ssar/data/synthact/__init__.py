"""The embedded dataset: actions that are told apart by motion, rendered to real video files."""

from ssar.data.synthact.actions import CLASSES
from ssar.data.synthact.videos import generate

__all__ = ["CLASSES", "generate"]
