from .pair_sampler import PairSampler
from .semi_dataset import SemiSegDataset
from .transforms import (
                         ColorJitter,
                         MultiView,
                         RandomGaussianBlur,
                         RandomZoom,
                         TeacherGuidedCutMix,
)

__all__ = [
    'ColorJitter', 'MultiView', 'PairSampler', 'RandomGaussianBlur',
    'RandomZoom', 'SemiSegDataset', 'TeacherGuidedCutMix'
]
