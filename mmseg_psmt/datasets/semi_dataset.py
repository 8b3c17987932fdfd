"""Labelled and unlabelled images side by side."""
from typing import Dict, Tuple

from mmengine.fileio import exists
from mmseg.registry import DATASETS
from torch.utils.data import Dataset

from .transforms.multi_view import kinds

VIEWS = ('labeled', 'weak', 'strong')


@DATASETS.register_module()
class SemiSegDataset(Dataset):
    """Pairs of a labelled and an unlabelled image, asked for by index.

    Args:
        labeled (dict): Config of any mmseg data set. Its pipeline ends in
            ``PackSegInputs``, or in :class:`MultiView` with the views
            ``labeled`` and, for a warm-up, ``labeled_weak``.
        unlabeled (dict): Likewise; masks are not needed. Its pipeline ends
            in :class:`MultiView` with the views ``weak`` and ``strong``.

    Raises:
        ValueError: If a list is empty, or a pipeline makes other views.
        FileNotFoundError: If a listed file does not exist.
    """

    def __init__(self, labeled: dict, unlabeled: dict):
        self.labeled = _build('labelled', labeled)
        self.unlabeled = _build('unlabelled', unlabeled)
        self.metainfo = self.labeled.metainfo

    def full_init(self) -> None:
        """Both data sets are complete already."""

    def __len__(self) -> int:
        """One pass is one pass over the unlabelled images."""
        return len(self.unlabeled)

    def __getitem__(self, pair: Tuple[int, int]) -> Dict[str, dict]:
        """Views of one pair.

        Args:
            pair (tuple[int, int]): Labelled and unlabelled index, from
                :class:`PairSampler`.

        Returns:
            dict: ``labeled``, ``weak``, ``strong`` and perhaps
            ``labeled_weak``, each with ``inputs`` and ``data_samples``.
        """
        if not isinstance(pair, tuple):
            raise TypeError(
                'SemiSegDataset takes a (labelled, unlabelled) pair of '
                f'indices, got {pair!r}: use sampler=dict(type="PairSampler")')
        item = self.labeled[pair[0]]
        views = {'labeled': item} if 'inputs' in item else dict(item)
        views.update(self.unlabeled[pair[1]])
        missing = [name for name in VIEWS if name not in views]
        if missing:
            raise ValueError(
                f'The pipelines give the views {list(views)}; {missing} is '
                'missing. End the unlabelled pipeline with '
                "dict(type='MultiView', weak=[...], strong=[...])")
        return views


def _build(kind: str, cfg: dict) -> Dataset:
    """Build a data set whose list is not empty and whose files exist."""
    dataset = DATASETS.build({**cfg, 'lazy_init': True})
    if 'Pad' in kinds(getattr(dataset, 'pipeline', None)):
        raise ValueError(
            f'Take Pad out of the {kind} pipeline: '
            'SemiSegDataPreProcessor(size=...) pads, and masks the padding '
            'out of the unsupervised loss')
    where = getattr(dataset, 'ann_file', None) or cfg.get('data_prefix')
    if hasattr(dataset, 'load_data_list') and not dataset.load_data_list():
        raise ValueError(f'The {kind} list {where} names no image')
    dataset.full_init()
    loads_masks = 'LoadAnnotations' in str(cfg.get('pipeline'))
    keys = ['img_path', 'seg_map_path'] if loads_masks else ['img_path']
    for i in range(len(dataset)):
        info = dataset.get_data_info(i)
        for key in keys:
            if not exists(info[key], getattr(dataset, 'backend_args', None)):
                remedy = (
                    '' if key == 'img_path' or kind == 'labelled' else
                    ', or take LoadAnnotations out of the pipeline: '
                    'unlabelled images need no masks')
                raise FileNotFoundError(
                    f'{info[key]} does not exist but is image {i} of the '
                    f'{kind} list {where}: mend the list, data_prefix or '
                    f'img_suffix / seg_map_suffix{remedy}')
    return dataset
