from .pair_sampler import PairSampler
from .semi_dataset import SemiSegDataset
from .transforms import (
                         ColorJitter,
                         MultiView,
                         RandomGaussianBlur,
                         RandomZoom,
                         TeacherGuidedCutMix,
)
from .unlabeled_folder import UnlabeledFolder

__all__ = [
    'ColorJitter', 'MultiView', 'PairSampler', 'RandomGaussianBlur',
    'RandomZoom', 'SemiSegDataset', 'TeacherGuidedCutMix', 'UnlabeledFolder'
]
