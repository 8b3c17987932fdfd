"""PS-MT, semi-supervised semantic segmentation, for MMSegmentation."""

from .stack import (
    allow_checkpoint_globals,
    installed_family,
    quietly,
    register_configs,
)

installed_family()
register_configs()
allow_checkpoint_globals()

with quietly():
    from . import datasets, engine, evaluation, models  # noqa: F401

__version__ = '0.2.0'
