"""Several views of one image that share its geometry."""
import copy
from typing import Dict, List

from mmcv.transforms import BaseTransform, Compose
from mmseg.registry import TRANSFORMS

GEOMETRIC = ('Resize', 'RandomResize', 'RandomCrop', 'RandomFlip', 'Pad',
             'RandomRotate', 'RandomRotFlip', 'RandomMosaic',
             'ResizeToMultiple', 'RandomChoiceResize', 'ResizeShortestEdge')


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
            moved = [t['type'] for t in pipeline if t['type'] in GEOMETRIC]
            if moved:
                raise ValueError(
                    f'View {name!r} moves pixels with {moved}; put these '
                    'before MultiView, views must share their geometry')
        self.views = {name: Compose(pipe) for name, pipe in views.items()}

    def transform(self, results: dict) -> Dict[str, dict]:
        return {
            name: view(copy.deepcopy(results))
            for name, view in self.views.items()
        }

    def __repr__(self) -> str:
        return f'{self.__class__.__name__}({self.views})'
