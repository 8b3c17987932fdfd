"""Labeled and unlabeled images side by side."""

import logging
import os.path as osp
from typing import Dict, Iterator, List, Tuple, Union

from mmengine.dataset import ConcatDataset, RepeatDataset
from mmengine.fileio import exists, isdir, isfile, list_dir_or_file
from mmengine.logging import print_log
from mmseg.datasets import MultiImageMixDataset
from mmseg.registry import DATASETS
from torch.utils.data import Dataset

from ..options import is_type
from ..randomness import seeded
from .images import infos, leaves, loading, reads_masks, reason, source
from .transforms.photo_mask import PhotoMask, unpack_photo_mask

VIEWS = ('labeled', 'weak', 'strong')


@DATASETS.register_module()
class SemiSegDataset(Dataset):
    """Pairs of a labeled and an unlabeled image, asked for by index.

    Whatever fills the mask of an unlabeled image with an id that is no class,
    such as the corners of ``RandomRotate``, is not valid, see
    :class:`PhotoMask`.

    Args:
        labeled (dict | Dataset): Any mmseg data set or its config. Its
            pipeline ends in ``PackSegInputs``, or in :class:`MultiView` with
            the views ``labeled`` and, for a warm-up, ``labeled_weak``.
        unlabeled (dict | Dataset): Likewise; masks are not needed. Its
            pipeline ends in :class:`MultiView` with the views ``weak`` and
            ``strong``.

    Raises:
        ValueError: If a list is empty, or a pipeline makes other views.
        FileNotFoundError: If the root, a list or a listed file is missing.
    """

    def __init__(
        self, labeled: Union[dict, Dataset], unlabeled: Union[dict, Dataset]
    ):
        self.labeled = build_part('labeled', labeled)
        self.unlabeled = build_part('unlabeled', unlabeled)
        _check_files('labeled', self.labeled)
        _check_files('unlabeled', self.unlabeled)
        self.metainfo = self.labeled.metainfo
        classes = self.metainfo.get('classes')
        self.num_classes = min(254, len(classes or range(254)))
        for leaf in leaves(self.unlabeled):
            mark_photos(leaf, self.num_classes)

    def __len__(self) -> int:
        """One pass is one pass over the unlabeled images."""
        return len(self.unlabeled)

    def __getitem__(
        self, pair: Tuple[int, int, Tuple[int, int]]
    ) -> Dict[str, dict]:
        """Views of one pair.

        Args:
            pair (tuple): Labeled and unlabeled index, and the integers that
                seed their random transforms, from :class:`PairSampler`.

        Returns:
            dict: ``labeled``, ``weak``, ``strong`` and perhaps
            ``labeled_weak``, each with ``inputs`` and ``data_samples``.
        """
        if not isinstance(pair, tuple):
            raise TypeError(
                'SemiSegDataset takes a (labeled, unlabeled, seed) triple, '
                f'got {pair!r}: use sampler=dict(type="PairSampler")'
            )
        labeled, unlabeled, seed = pair
        with seeded(seed):
            item = self._load('labeled', self.labeled, labeled)
            views = {'labeled': item} if 'inputs' in item else dict(item)
            photos = self._load('unlabeled', self.unlabeled, unlabeled)
        views.update(photos)
        missing = [name for name in VIEWS if name not in views]
        if missing:
            raise ValueError(
                f'The pipelines give the views {list(views)}; {missing} is '
                'missing. End the unlabeled pipeline with '
                "dict(type='MultiView', weak=[...], strong=[...])"
            )
        for name in photos:
            unpack_photo_mask(photos[name], self.num_classes)
        return views

    def __iter__(self) -> Iterator[dict]:
        """Every image once, as the student gets it, to be looked at.

        For tools such as mmseg's browse_dataset.py. A training asks by index.

        Yields:
            dict: ``inputs`` and ``data_samples`` of the view ``labeled`` of
            each labeled image, then of ``strong`` of each unlabeled one.
        """
        for kind, part, view in (
            ('labeled', self.labeled, 'labeled'),
            ('unlabeled', self.unlabeled, 'strong'),
        ):
            for index in range(len(part)):
                item = self._load(kind, part, index)
                yield item if 'inputs' in item else item[view]

    @staticmethod
    def _load(kind: str, part: Dataset, index: int) -> dict:
        """An item of a part; an error names its files."""
        try:
            return part[index]
        except Exception as error:
            info = part.get_data_info(index)
            files = ' or '.join(
                info[key]
                for key in ('img_path', 'seg_map_path')
                if info.get(key)
            )
            raise RuntimeError(
                f'{files} of the {kind} images fails in the pipeline '
                f'({reason(error)}): restore what is missing or broken, or '
                'fix the pipeline, and go on with --resume; '
                'tools/check_data.py CONFIG reads every file'
            ) from error


def mark_photos(leaf: Dataset, num_classes: int) -> None:
    """Let every image of a data set carry a :class:`PhotoMask`, once."""
    steps = leaf.pipeline.transforms
    if not any(isinstance(step, PhotoMask) for step in steps):
        steps.insert(loading(leaf), PhotoMask(num_classes, leaf.ignore_index))


def _prepare(kind: str, cfg: Union[dict, Dataset]) -> Union[dict, Dataset]:
    """Config with lazy data sets only, whose root and list exist."""
    if not isinstance(cfg, dict):
        return cfg
    cfg = {**cfg, 'lazy_init': True}
    if 'dataset' in cfg:
        cfg['dataset'] = _prepare(kind, cfg['dataset'])
    if 'datasets' in cfg:
        cfg['datasets'] = [_prepare(kind, part) for part in cfg['datasets']]
    if is_type(DATASETS, cfg.get('type'), MultiImageMixDataset):
        # mosaics ask for the image after the last, too: it is the first
        cfg['dataset'] = dict(
            type=RepeatDataset, times=1, dataset=cfg['dataset']
        )
    if kind == 'unlabeled' and is_type(
        DATASETS, cfg.get('type'), ConcatDataset
    ):
        # of which only the images count
        cfg.setdefault(
            'ignore_keys',
            ['classes', 'palette', 'label_map', 'reduce_zero_label'],
        )
    root, ann_file = cfg.get('data_root') or '', cfg.get('ann_file') or ''
    if ann_file and isdir(osp.join(root, ann_file), cfg.get('backend_args')):
        raise ValueError(
            f'ann_file of the {kind} images is the folder '
            f'{osp.join(root, ann_file)}: give the list of their names in it'
        )
    for path in (root, osp.join(root, ann_file)):
        if path and not exists(path, cfg.get('backend_args')):
            raise FileNotFoundError(
                f'{path} does not exist, where the {kind} images should be '
                'found: put or link the data there, or change data_root or '
                'ann_file (the configs of this project read the environment '
                'variable PSMT_DATA)'
            )
    return cfg


def build_part(kind: str, cfg: Union[dict, Dataset]) -> Dataset:
    """Build a data set whose list is not empty.

    Args:
        kind (str): 'labeled', 'unlabeled' or 'validation', for messages.
        cfg (dict | Dataset): Its config; what is built already is returned.

    Raises:
        ValueError: If the list is empty or no list.
        FileNotFoundError: If the root or the list is missing.
    """
    if not isinstance(cfg, dict):
        return cfg
    dataset = DATASETS.build(_prepare(kind, cfg))
    for leaf in leaves(dataset):
        try:
            found = leaf.load_data_list()
        except UnicodeDecodeError as error:
            raise ValueError(
                f'The {kind} list {source(leaf)} is not UTF-8 text ({error}): '
                'save it as such'
            ) from error
        others = _other_suffixes(leaf)
        if not found:
            raise ValueError(
                f'The {kind} list {source(leaf)} names no image'
                + (f' that ends in {leaf.img_suffix!r}' if others else '')
            )
        if others:
            print_log(
                f'{len(others)} images in {source(leaf)} do not end in '
                f'{leaf.img_suffix!r} and are left out, such as {others[0]}. '
                'Rename them, or give them a data set with their img_suffix',
                logger='current',
                level=logging.WARNING,
            )
    dataset.full_init()
    return dataset


def _other_suffixes(leaf: Dataset) -> List[str]:
    """Images in the folder of a data set that its suffix leaves out."""
    folder = leaf.data_prefix.get('img_path') or ''
    if leaf.ann_file and isfile(leaf.ann_file, leaf.backend_args):
        return []
    if not osp.isdir(folder):
        return []
    # those of other kinds may be masks
    suffix = leaf.img_suffix.lower()
    return sorted(
        name
        for name in list_dir_or_file(folder, list_dir=False, recursive=True)
        if name.lower().endswith(suffix) and not name.endswith(leaf.img_suffix)
    )


def _check_files(kind: str, dataset: Dataset) -> None:
    for leaf, info in infos(dataset):
        keys = ['img_path']
        if reads_masks(leaf.pipeline):
            keys.append('seg_map_path')
        for key in keys:
            path = info.get(key)
            if path and isfile(path, leaf.backend_args):
                continue
            remedy = 'fix the list, data_prefix or the suffixes'
            if '\ufeff' in (path or ''):
                remedy = 'save the list without a byte order mark'
            elif osp.basename(path or '') in (
                leaf.img_suffix,
                leaf.seg_map_suffix,
            ):
                remedy = 'take the blank line out of the list'
            if key == 'seg_map_path' and kind == 'unlabeled':
                remedy += (
                    ', or take LoadAnnotations out of the pipeline: '
                    'unlabeled images need no masks'
                )
            raise FileNotFoundError(
                f'{path or key} is not a file but is wanted for image '
                f'{info["sample_idx"]} of the {kind} list {source(leaf)}: '
                f'{remedy}'
            )
