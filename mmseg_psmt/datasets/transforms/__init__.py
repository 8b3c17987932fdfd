from .color_jitter import ColorJitter
from .colors_to_ids import ColorsToIds
from .gaussian_blur import RandomGaussianBlur
from .multi_view import MultiView
from .random_zoom import RandomZoom
from .teacher_cutmix import TeacherGuidedCutMix

__all__ = [
    'ColorJitter',
    'ColorsToIds',
    'MultiView',
    'RandomGaussianBlur',
    'RandomZoom',
    'TeacherGuidedCutMix',
]
