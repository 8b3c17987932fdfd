"""Several views of one image that share its geometry."""
import copy
from typing import Any, Dict, Iterator, List

from mmcv.transforms import BaseTransform, Compose
from mmseg.registry import TRANSFORMS

from ...options import require

GEOMETRIC = ('Resize', 'RandomResize', 'RandomCrop', 'RandomFlip', 'Pad',
             'RandomRotate', 'RandomRotFlip', 'RandomMosaic', 'CenterCrop',
             'ResizeToMultiple', 'RandomChoiceResize', 'ResizeShortestEdge')


def kinds(transform: Any) -> Iterator[str]:
    """Class names of a transform and of those nested in it."""
    yield type(transform).__name__
    for child in getattr(transform, 'transforms', ()):
        yield from kinds(child)


@TRANSFORMS.register_module()
class MultiView(BaseTransform):
    """Send copies of the results through one pipeline per view.

    What moves pixels stands before ``MultiView``, so that every view has the
    same geometry.

    Args:
        **views (list[dict]): Pipelines by the name of the view, such as
            ``weak=[...], strong=[...]``.

    Raises:
        ValueError: If a view would move pixels, or there is none.
    """

    def __init__(self, **views: List[dict]):
        if not views:
            raise ValueError('MultiView needs at least one view')
        for name, pipeline in views.items():
            require(f'The view {name!r}', pipeline, 'a list of configs',
                    lambda x: all(isinstance(step, dict) for step in x))
        self.views = {
            name: Compose([TRANSFORMS.build(t) for t in pipeline])
            for name, pipeline in views.items()
        }
        for name, view in self.views.items():
            moved = [kind for kind in kinds(view) if kind in GEOMETRIC]
            if moved:
                raise ValueError(
                    f'View {name!r} moves pixels with {moved}; put these '
                    'before MultiView, views must share their geometry')

    def transform(self, results: dict) -> Dict[str, dict]:
        # numpy's flipped images are slow to copy, the copies are not
        results = copy.deepcopy(results)
        return {
            name: view(copy.deepcopy(results))
            for name, view in self.views.items()
        }

    def __repr__(self) -> str:
        return f'{self.__class__.__name__}({self.views})'
