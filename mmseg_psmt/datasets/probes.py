"""What pipelines do to pixels, found by sending probes through them."""

import copy
from functools import lru_cache
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

import cv2
import numpy as np
from torch.utils.data import Dataset

from ..randomness import seeded
from .images import depth, loading, reason, source
from .transforms.multi_view import MultiView, nested
from .transforms.photo_mask import PhotoMask

LEVELS, GROUPS, BLOCK = 32, 4, 8
SMALL = 96, 128  # a view of it takes a millisecond
LARGEST = 1024  # longer side of a probe in the size of the images
ALIKE = 0.1  # share of the gray levels that a shared geometry explains


class Pixels(NamedTuple):
    """An image (H, W) or (H, W, C) and the ids (H, W) of its pixels."""

    image: np.ndarray
    ids: Optional[np.ndarray]


class Done(NamedTuple):
    """What a transform made, in a view or before the views."""

    view: str
    step: Any
    results: dict


class StepError(Exception):
    """The error of a transform, with its name."""

    def __init__(self, step: Any, error: Exception):
        super().__init__(f'{name_of(step)}: {reason(error)}')
        self.step, self.error = step, error


def name_of(step: Any) -> str:
    """Class of a transform and of those within it."""
    names = [
        type(each).__name__
        for each in nested(step)
        if not isinstance(each, dict)
    ]
    inner = [name for name in names[1:] if name != 'Compose']
    return names[0] + (f' ({", ".join(inner)})' if inner else '')


def run(steps: List[Any], results: dict, seed: int) -> List[Done]:
    """Results after each transform, and of each view after it.

    Raises:
        StepError: If a transform fails.
    """
    done = []

    def chain(view: str, steps: List[Any], results: dict) -> None:
        for step in steps:
            if isinstance(step, MultiView):
                for name, part in step.views.items():
                    chain(name, part.transforms, results)
                return
            try:
                results = step(copy.deepcopy(results))
            except Exception as error:
                raise StepError(step, error) from error
            done.append(Done(view, step, results))

    with seeded((seed,)):
        chain('', steps, results)
    return done


def pixels(results: dict) -> Optional[Pixels]:
    """Image and mask of results, packed or not."""
    if 'inputs' in results:
        image = results['inputs'].permute(1, 2, 0).numpy()
        sample = results['data_samples']
        ids = (
            sample.gt_sem_seg.data[0].numpy()
            if 'gt_sem_seg' in sample
            else None
        )
    elif 'img' in results:
        image, ids = results['img'], results.get('gt_seg_map')
    else:
        return None
    if ids is not None and ids.shape != image.shape[:2]:
        ids = None
    return Pixels(image, ids)


def views_of(done: List[Done]) -> Dict[str, Pixels]:
    """What each view, or the pipeline without views, makes in the end."""
    views = {}
    for view, _, results in done:
        views[view] = pixels(results)
        if views[view] is None:  # views by a transform of one's own
            views.update(
                {
                    name: pixels(part)
                    for name, part in results.items()
                    if isinstance(part, dict)
                }
            )
    return {name: made for name, made in views.items() if made is not None}


def probe(
    start: dict,
    shape: Tuple[int, int],
    seed: int,
    first: int = 0,
    groups: int = GROUPS,
    block: int = BLOCK,
) -> dict:
    """Results with blocks of random gray levels in place of the image.

    Args:
        start (dict): Results with ``img``, of which depth, channels and range
            are taken.
        shape (tuple[int, int]): Height and width.
        seed (int): Of the levels.
        first (int): Least id in ``gt_seg_map``.
        groups (int): Ids; each stands for as many of the 32 levels.
        block (int): Side of a block in pixels, at most an eighth of the image.

    Returns:
        dict: New results; neighboring levels have the same id.
    """
    like, rng = start['img'], np.random.default_rng(seed)
    side = max(1, min(block, min(shape) // BLOCK))
    blocks = rng.integers(LEVELS, size=[-(-n // side) for n in shape])
    levels = blocks.repeat(side, 0).repeat(side, 1)[: shape[0], : shape[1]]
    low, high = 32, 223
    if like.dtype != np.uint8:
        low, high = np.quantile(like, (0.02, 0.98))
        if high - low < 1e-3 * abs(high):
            low, high = 0.5 * high, 1.5 * high
    image = (low + (high - low) * levels / (LEVELS - 1)).astype(like.dtype)
    if like.ndim == 3:
        image = np.repeat(image[..., None], like.shape[2], 2)
    results = copy.deepcopy(start)
    if 'gt_seg_map' not in results.setdefault('seg_fields', []):
        results['seg_fields'].append('gt_seg_map')
    ids = first + levels * groups // LEVELS
    return {
        **results,
        'img': image,
        'gt_seg_map': ids.astype(np.uint8),
        'img_shape': shape,
        'ori_shape': shape,
    }


def gray(image: np.ndarray) -> np.ndarray:
    """Mean of the channels, without the finest noise; float (H, W)."""
    image = image.astype(np.float32)
    return cv2.blur(image.mean(-1) if image.ndim == 3 else image, (3, 3))


def explained(
    image: np.ndarray, ids: np.ndarray, known: np.ndarray
) -> Optional[float]:
    """Share of the variance of an image that lies between ids.

    Any change of the gray levels keeps it high, any other geometry than that
    of the ids makes it small.

    Returns:
        float | None: None if there is too little to tell.
    """
    values, ids = gray(image)[known].astype(np.float64), ids[known]
    if len(values) < GROUPS * BLOCK**2 or len(np.unique(ids)) < 2:
        return None
    variance = values.var()
    if variance <= 1e-6 * max(1e-6, np.square(values).mean()):
        return None
    counts = np.bincount(ids)
    sums = np.bincount(ids, values)[counts > 0]
    means = sums / counts[counts > 0]
    between = np.average(
        (means - values.mean()) ** 2, weights=counts[counts > 0]
    )
    return between / variance


def moved(one: Pixels, other: Pixels, ids: range) -> bool:
    """Whether two views of a probe with these ids differ in geometry.

    What is erased in one of them, to one value, has not moved.
    """
    if one.image.shape[:2] != other.image.shape[:2]:
        return True
    if one.ids is not None and other.ids is not None:
        differ = one.ids != other.ids
        changed = one.ids[differ], other.ids[differ]
        kept = np.logical_and(*(np.isin(values, ids) for values in changed))
        if min(len(np.unique(values[kept])) for values in changed) > 1:
            return True
    levels = gray(one.image)
    edges = np.quantile(levels, [0.25, 0.5, 0.75])
    share = explained(
        other.image, np.digitize(levels, edges), ~erased(other.image)
    )
    return share is not None and share < ALIKE


def erased(image: np.ndarray) -> np.ndarray:
    """Where an image has one value far more often than a probe would.

    Returns:
        np.ndarray: Bool mask (H, W), with the pixels beside it.
    """
    flat = image.mean(-1) if image.ndim == 3 else image
    values, counts = np.unique(flat, return_counts=True)
    holes = flat == values[counts.argmax()]
    if counts.max() <= 4 / LEVELS * flat.size:
        holes = np.zeros_like(holes)
    return cv2.dilate(holes.astype(np.uint8), np.ones((3, 3))) > 0


def spoilt(before: np.ndarray, after: np.ndarray, ids: np.ndarray) -> bool:
    """Whether a transform made noise of a depth that it does not know.

    Args:
        before (np.ndarray): A probe.
        after (np.ndarray): What was made of it.
        ids (np.ndarray): Of each of its levels one, (H, W).
    """
    if before.dtype == np.uint8 or np.abs(after).max() > 255:
        return False
    if after.ndim == 3:
        after = after.mean(-1)
    known = ids < LEVELS
    counts = np.bincount(ids[known], minlength=LEVELS)
    sums = np.bincount(ids[known], after[known].astype(float), LEVELS)
    slopes = np.diff(sums[counts > 0] / counts[counts > 0])
    steep = slopes[np.abs(slopes) > 1e-3 * max(np.ptp(after), 1e-9)]
    turns = (steep[1:] * steep[:-1] < 0).sum()
    return len(slopes) > 8 and (turns > 4 or len(steep) < 0.3 * len(slopes))


class Route(NamedTuple):
    """Transforms after the loading, and what an image enters them as."""

    where: str
    steps: List[Any]
    start: dict


def routes(dataset: Dataset) -> Iterator[Route]:
    """The different pipelines within a data set, each with an image."""
    seen = set()
    for owner in _owners(dataset):
        if isinstance(owner.pipeline, list):
            steps, start = owner.pipeline[-1:], _entering_last(owner)
            where = type(owner).__name__
        else:
            steps, start = _after_loading(owner)
            where = source(owner)
        if start is None or 'img' not in start:
            continue
        start = shrunk(start)
        key = repr((steps, start['img'].dtype, start['img'].shape[2:]))
        if key not in seen:
            seen.add(key)
            yield Route(where, steps, start)


def shrunk(start: dict) -> dict:
    """Results with image and masks of at most the size of a probe."""
    shape, size = start['img'].shape[:2], _size(start)
    rows, columns = (np.arange(n) * full // n for n, full in zip(size, shape))
    return {
        **start,
        'img_shape': size,
        'ori_shape': size,
        **{
            key: start[key][rows][:, columns]
            for key in ('img', *start.get('seg_fields', ()))
            if start[key].shape[:2] == shape
        },
    }


def _owners(dataset: Dataset) -> Iterator[Dataset]:
    """Data sets that have a pipeline, wrappers that mix images included."""
    if hasattr(dataset, 'datasets'):
        for part in dataset.datasets:
            yield from _owners(part)
    elif hasattr(dataset, 'dataset'):
        if getattr(dataset, 'pipeline', None):
            yield dataset
        yield from _owners(dataset.dataset)
    else:
        yield dataset


def _after_loading(leaf: Dataset) -> Tuple[List[Any], Optional[dict]]:
    steps = leaf.pipeline.transforms
    marks = [i for i, step in enumerate(steps) if isinstance(step, PhotoMask)]
    number = marks[0] + 1 if marks else loading(leaf)
    for i in range(min(10, len(leaf))):
        try:
            done = run(steps[:number], leaf.get_data_info(i), seed=0)
        except StepError:  # broken files are named elsewhere
            continue
        return steps[number:], done[-1].results
    return steps[number:], None


def _entering_last(owner: Dataset) -> Optional[dict]:
    """What a wrapper that mixes images gives its last transform."""
    last, seen = owner.pipeline[-1], []
    owner.pipeline[-1] = lambda results: seen.append(results) or results
    try:
        with seeded((0,)):
            owner[0]
    except Exception:  # named by what loads the batches
        pass
    finally:
        owner.pipeline[-1] = last
    return seen[0] if seen else None


def _size(start: dict) -> Tuple[int, int]:
    height, width = start['img'].shape[:2]
    shrink = min(1, LARGEST / max(height, width))
    return max(1, int(height * shrink)), max(1, int(width * shrink))


def step_problems(kind: str, dataset: Dataset) -> Iterator[str]:
    """Transforms that fail, or do not know the depth of the images.

    Args:
        kind (str): 'labeled', 'unlabeled' or 'validation', for messages.
        dataset (Dataset): Its images are loaded.
    """
    for where, steps, start in routes(dataset):
        stock = start['img'].dtype == np.uint8 and start['img'].shape[2:] == (
            3,
        )
        faults, named = {}, f'the {kind} pipeline of {where}'
        for seed in range(4 if stock else 24):
            try:
                run(steps, start, seed)
            except StepError as error:
                faults[name_of(error.step)] = (
                    f'fails on images loaded as {depth(start["img"])} '
                    f'({reason(error.error)}): take it out, fix it, or put '
                    'one in its place that suits such images'
                )
        for seed in range(0 if stock else 32):
            given = probe(start, SMALL, seed, groups=LEVELS)
            try:
                done = run(steps, given, seed)
            except StepError:
                continue
            before, view = {'': pixels(given)}, ''
            for view, step, results in done:
                made = pixels(results)
                last = before.get(view, before[''])
                if made is None or made.ids is None:
                    break
                if spoilt(last.image, made.image, made.ids):
                    faults.setdefault(
                        name_of(step),
                        (
                            'makes noise of images loaded as '
                            f'{depth(start["img"])}, or cuts them off: it is '
                            'made for 8 bits. Take it out, or '
                            'convert the images to 8 bits before it'
                        ),
                    )
                    break
                before[view] = made
        for name, fault in faults.items():
            yield f'{name} in {named} {fault}'


def view_problems(unlabeled: Dataset) -> Iterator[str]:
    """Transforms that move pixels in one view of the unlabeled images alone.

    Args:
        unlabeled (Dataset): That of :class:`SemiSegDataset`.
    """
    ids = range(1, 1 + GROUPS)
    for where, steps, start in routes(unlabeled):
        try:
            entering = [
                done.results
                for done in run(steps, start, 0)
                if not done.view and 'img' in done.results
            ]
        except StepError:
            continue  # named by step_problems
        base = entering[-1] if entering else start
        last = [step for step in steps if isinstance(step, MultiView)]
        last = last[:1] or steps[-1:]
        size = _size(base)
        mover = None
        if np.prod(size) > np.prod(SMALL):
            mover = _mover(last, base, SMALL, 64, ids)
        # what moves pixels of another size may not move those
        mover = _mover(
            last,
            base,
            size,
            64 if mover or np.prod(size) <= np.prod(SMALL) else 4,
            ids,
        )
        if mover:
            view, name = mover
            yield (
                f'{name} in view {view!r} of the unlabeled pipeline of '
                f'{where} moves pixels, and so the pseudo labels belong '
                'elsewhere: put it before MultiView, the views must share '
                'their geometry'
            )


def _mover(
    last: List[Any], base: dict, shape: Tuple[int, int], seeds: int, ids: range
) -> Optional[Tuple[str, str]]:
    """View and transform by which the views part."""
    for seed in range(seeds):
        given = probe(base, shape, seed, ids[0])
        try:
            done = run(last, given, seed)
        except StepError:
            given.pop('gt_seg_map')
            given['seg_fields'] = [
                key for key in given['seg_fields'] if key != 'gt_seg_map'
            ]
            try:
                done = run(last, given, seed)
            except StepError:
                continue
        views = views_of(done)
        weak, strong = views.get('weak'), views.get('strong')
        if weak is None or strong is None or not moved(weak, strong, ids):
            continue
        origin = pixels(given)
        for view, step, results in done:
            made = pixels(results)
            if (
                view in ('weak', 'strong')
                and made is not None
                and moved(origin, made, ids)
            ):
                return view, name_of(step)
        return 'strong', name_of(last[0])
    return None


def mask_problems(labeled: Dataset) -> Iterator[str]:
    """Transforms that move labeled images and not their masks."""
    classes = len(labeled.metainfo.get('classes') or range(GROUPS))
    groups = max(2, min(GROUPS, classes))
    for where, steps, start in routes(labeled):
        if 'gt_seg_map' not in start:
            continue
        for seed in range(16):
            for block in BLOCK, LARGEST:  # a small one is lost in a resize
                try:
                    done = run(
                        steps,
                        probe(
                            start,
                            _size(start),
                            seed,
                            groups=groups,
                            block=block,
                        ),
                        seed,
                    )
                except StepError:
                    apart = None
                    break
                apart = next(
                    (
                        step
                        for _, step, results in done
                        if _apart(pixels(results), groups)
                    ),
                    None,
                )
                if apart is None:
                    break
            if apart is not None:
                yield (
                    f'{name_of(apart)} in the labeled pipeline of {where} '
                    'moves the image and not its mask: have it move '
                    "every key of results['seg_fields'] alike"
                )
                break


def _apart(made: Optional[Pixels], groups: int) -> bool:
    if made is None or made.ids is None:
        return False
    share = explained(made.image, made.ids, made.ids < groups)
    return share is not None and share < ALIKE


@lru_cache(maxsize=256)
def survives(leaf: Dataset, value: int) -> bool:
    """Whether an id is still in a mask at the end of a pipeline."""
    steps, start = _after_loading(leaf)
    if start is None or 'gt_seg_map' not in start:
        return True
    start = shrunk(start)
    given = probe(start, _size(start), 0)
    given['gt_seg_map'][:] = value
    try:
        made = views_of(run(steps, given, 0)).values()
    except StepError:
        return True
    return any(view.ids is None or (view.ids == value).any() for view in made)


def fills(dataset: Dataset, first: int = 0) -> Dict[int, str]:
    """Ids that a pipeline fills masks with, and the transform that does.

    Args:
        dataset (Dataset): Any part.
        first (int): The least id of the probe.
    """
    found = {}
    for _, steps, start in routes(dataset):
        for seed in range(64):  # what happens in one image of 20 is seen
            size = _size(start) if seed < 4 else SMALL
            try:
                done = run(steps, probe(start, size, seed, first, 2), seed)
            except StepError:
                continue
            for view, step, results in done:
                made = pixels(results)
                if made is None or made.ids is None or view == 'strong':
                    continue
                for value in np.unique(made.ids):
                    if value not in range(first, first + 2):
                        found.setdefault(int(value), name_of(step))
    return found
