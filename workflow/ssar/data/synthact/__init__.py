"""The embedded dataset: actions that are told apart by motion, rendered to real video files."""

from ssar.data.synthact.motions import CLASSES
from ssar.data.synthact.videos import generate

__all__ = ["CLASSES", "generate"]
