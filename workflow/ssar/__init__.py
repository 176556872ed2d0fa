"""Semi-supervised action recognition: the papers' tables and figures as Snakemake targets.

Importing this package, :mod:`ssar.config` or :mod:`ssar.grid` never imports torch.
"""

__version__ = "0.1.0"
