"""PS-MT, semi-supervised semantic segmentation, for MMSegmentation."""

from .stack import allow_checkpoint_globals, installed_family, register_configs

installed_family()
register_configs()
allow_checkpoint_globals()

from . import datasets, engine, evaluation, models  # noqa: E402, F401

__version__ = '0.2.0'
