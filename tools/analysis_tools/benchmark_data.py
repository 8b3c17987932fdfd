"""Pairs of images that a core prepares per second, and what takes the time."""

import argparse
import math
import random
import tempfile
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from time import process_time
from typing import Callable, Iterator, List

from mmengine.config import Config


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Time the pipelines of configs of VOC and Cityscapes on '
        'drawn images of their size, in CPU seconds of one core: '
        'milliseconds of a pair of a labeled and an unlabeled image by part, '
        'pairs per second, those that an A100 takes in float32 (TF32) / '
        'under autocast, computed as in encoder_costs.py, and the workers '
        'that make as many.'
    )
    parser.add_argument('configs', nargs='+', type=Path, metavar='CONFIG')
    parser.add_argument('--num', type=int, default=20, help='pairs')
    return parser.parse_args()


if __name__ == '__main__':
    parse_args()  # --help and typos are answered before the slow imports
    import mmseg_psmt  # noqa: F401, keeps the imports of mmseg quiet

import cv2
import numpy as np
import torch
from encoder_costs import pair_gmacs, pair_seconds
from mmcv.transforms import Compose
from mmengine.logging import MMLogger
from mmseg.registry import TRANSFORMS
from mmseg.utils import register_all_modules

from mmseg_psmt.datasets.transforms import MultiView

# Height, width and format of the images of a data set, and the strength of
# noise with which drawn ones have files as large as its own.
KINDS = {
    'PascalVOCDataset': (375, 500, '.jpg', 12.0),
    'CityscapesDataset': (1024, 2048, '.png', 1.0),
}
BACKENDS = {'cv2': 'cv2', 'pillow': 'PIL', 'turbojpeg': 'turbojpeg'}
PARTS = {
    'LoadImageFromFile': 'image',
    'LoadAnnotations': 'mask',
    'RandomResize': 'resize',
    'Resize': 'resize',
    'ColorJitter': 'jitter',
    'RandomGrayscale': 'jitter',
    'RandomGaussianBlur': 'blur',
}
NAMES = ('image', 'mask', 'resize', 'jitter', 'blur', 'rest')


def draw(folder: Path, kind: str, num: int) -> List[dict]:
    """Images and masks with blurred colors, edges and noise, and their infos.

    Args:
        folder (Path): For the files.
        kind (str): One of :data:`KINDS`.
        num (int): Images.
    """
    height, width, suffix, noise = KINDS[kind]
    rng, infos = np.random.default_rng(0), []
    for i in range(num):
        coarse = rng.uniform(0, 256, (height // 40, width // 40, 3))
        image = cv2.resize(coarse, (width, height))
        image += rng.normal(0, noise, image.shape)
        few = rng.integers(19, size=(height // 60, width // 60))
        mask = cv2.resize(
            few.astype(np.uint8),
            (width, height),
            interpolation=cv2.INTER_NEAREST,
        )
        files = [str(folder / f'{i}{end}') for end in (suffix, '_mask.png')]
        cv2.imwrite(files[0], image.clip(0, 255).astype(np.uint8))
        cv2.imwrite(files[1], mask)
        infos.append(
            dict(
                img_path=files[0],
                seg_map_path=files[1],
                label_map=None,
                reduce_zero_label=False,
                seg_fields=[],
            )
        )
    return infos


def watch(pipeline: Compose, seconds: Counter) -> None:
    """Have each transform add its CPU time, without those within it."""

    def timed(step: Callable) -> Callable:
        part = PARTS.get(type(step).__name__, 'rest')

        def run(results: dict) -> dict:
            start, inner = process_time(), -seconds.total()
            results = step(results)
            inner += seconds.total()
            seconds[part] += process_time() - start - inner
            return results

        return run

    for i, step in enumerate(pipeline.transforms):
        if isinstance(step, MultiView):
            for view in step.views.values():
                watch(view, seconds)
        pipeline.transforms[i] = timed(step)


def rows(path: Path, num: int) -> Iterator[List[str]]:
    """Cells for each backend that decodes."""
    cfg = Config.fromfile(path)
    dataset = cfg.train_dataloader.dataset
    kind = dataset.get('labeled', {}).get('type')
    if kind not in KINDS:
        raise SystemExit(
            f'{path} trains on {kind}: give a config of {[*KINDS]}'
        )
    found = pair_gmacs(cfg)
    wanted = [1 / pair for _, pair in pair_seconds(found, 'A100')]
    with tempfile.TemporaryDirectory() as folder:
        infos = draw(Path(folder), kind, num)
        size = sum(Path(x['img_path']).stat().st_size for x in infos) / num
        for backend, module in BACKENDS.items():
            if not find_spec(module):
                continue
            if backend == 'turbojpeg' and KINDS[kind][2] != '.jpg':
                continue
            seconds, pipelines = Counter(), []
            for part in dataset.labeled, dataset.unlabeled:
                for step in part.pipeline:
                    if step.type == 'LoadImageFromFile':
                        step.imdecode_backend = backend
                    elif step.type == 'LoadAnnotations':
                        step.imdecode_backend = 'pillow'
                        if backend == 'cv2':
                            step.imdecode_backend = 'cv2'
                steps = [TRANSFORMS.build(step) for step in part.pipeline]
                pipelines.append(Compose(steps))
                watch(pipelines[-1], seconds)
            for run in range(2):  # the first one warms up
                seconds.clear()
                random.seed(0)
                np.random.seed(0)
                for info in infos:
                    for pipeline in pipelines:
                        pipeline(dict(info))
            speed = num / seconds.total()
            yield [
                path.stem,
                f'{size / 1024:.0f}',
                backend,
                *(f'{1e3 * seconds[name] / num:.1f}' for name in NAMES),
                f'{speed:.1f}',
                ' / '.join(f'{x:.0f}' for x in wanted),
                ' / '.join(str(math.ceil(x / speed)) for x in wanted),
            ]


def main() -> None:
    args = parse_args()
    register_all_modules()
    MMLogger.get_instance('mmengine', log_level='ERROR')
    cv2.setNumThreads(0)  # as in a worker
    torch.set_num_threads(1)
    lines = [
        [
            'config',
            'KiB',
            'backend',
            *NAMES,
            'pairs/s, core',
            'A100, pairs/s',
            'num_workers',
        ]
    ]
    lines += [['---'] * 3 + ['--:'] * (len(lines[0]) - 3)]
    lines += [row for path in args.configs for row in rows(path, args.num)]
    print('\n'.join(f'| {" | ".join(line)} |' for line in lines))


if __name__ == '__main__':
    main()
