from .pair_sampler import PairSampler
from .semi_dataset import SemiSegDataset
from .transforms import (
    ColorJitter,
    ColorsToIds,
    MultiView,
    RandomGaussianBlur,
    RandomZoom,
    TeacherGuidedCutMix,
)
from .unlabeled_folder import UnlabeledFolder

__all__ = [
    'ColorJitter',
    'ColorsToIds',
    'MultiView',
    'PairSampler',
    'RandomGaussianBlur',
    'RandomZoom',
    'SemiSegDataset',
    'TeacherGuidedCutMix',
    'UnlabeledFolder',
]
