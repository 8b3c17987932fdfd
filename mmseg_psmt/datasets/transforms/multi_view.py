"""Several views of one image that share its geometry."""

import copy
from collections.abc import Iterable
from typing import Any, Dict, Iterator, List

from mmcv.transforms import BaseTransform, Compose
from mmseg.registry import TRANSFORMS

from ...options import require


def nested(transform: Any) -> Iterator[Any]:
    """A transform and those within it."""
    yield transform
    children = getattr(transform, 'transforms', ())
    for child in (
        *(children if isinstance(children, Iterable) else ()),
        *getattr(transform, 'views', {}).values(),
    ):
        yield from nested(child)


@TRANSFORMS.register_module()
class MultiView(BaseTransform):
    """Send copies of the results through one pipeline per view.

    What moves pixels of unlabeled images stands before ``MultiView``, so that
    their views have the same geometry; ``DataCheckHook`` finds what does not.

    Args:
        **views (list[dict]): Pipelines by the name of the view, such as
            ``weak=[...], strong=[...]``.

    Raises:
        ValueError: If there is none.
    """

    def __init__(self, **views: List[dict]):
        if not views:
            raise ValueError('MultiView needs at least one view')
        for name, pipeline in views.items():
            require(
                f'The view {name!r}',
                pipeline,
                'a list of configs',
                lambda x: all(isinstance(step, dict) for step in x),
            )
        self.views = {
            name: Compose([TRANSFORMS.build(t) for t in pipeline])
            for name, pipeline in views.items()
        }

    def transform(self, results: dict) -> Dict[str, dict]:
        # numpy's flipped images are slow to copy, the copies are not
        results = copy.deepcopy(results)
        return {
            name: view(copy.deepcopy(results))
            for name, view in self.views.items()
        }

    def __repr__(self) -> str:
        return f'{self.__class__.__name__}({self.views})'
