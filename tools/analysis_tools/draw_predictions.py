"""Draw what several trainings say of the same test images, side by side."""

import argparse
from pathlib import Path
from typing import List

import numpy as np
from mmengine.config import Config
from PIL import Image


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Draw the predictions of the last checkpoints on images '
        'of the test list, one row per image and one column per training.'
    )
    parser.add_argument('runs', nargs='+', metavar='NAME=WORK_DIR')
    parser.add_argument('--out', type=Path, required=True, help='PNG')
    parser.add_argument(
        '--images', type=int, default=10, help='evenly from the list'
    )
    parser.add_argument(
        '--labels-only',
        action='store_true',
        help='without the images and their masks, whose '
        'license may forbid to pass them on',
    )
    args = parser.parse_args()
    for word in args.runs:
        name, found, folder = word.partition('=')
        if not (found and (Path(folder) / 'last_checkpoint').is_file()):
            parser.error(
                f'{word!r} is not NAME=WORK_DIR with a training that '
                'saved a checkpoint'
            )
    if args.images < 1:
        parser.error(f'--images must be at least 1, got {args.images}')
    if args.out.suffix != '.png' or args.out.is_dir():
        parser.error(f'--out must be a file that ends in .png, got {args.out}')
    return args


if __name__ == '__main__':
    parse_args()  # --help and typos are answered before the slow imports
    import mmseg_psmt  # noqa: F401, keeps the imports of mmseg quiet

import mmcv
import results
import torch
from mmengine.dataset import pseudo_collate
from mmseg.apis import init_model
from mmseg.registry import DATASETS
from mmseg.utils import register_all_modules

from mmseg_psmt.launch import forbid_code_in_checkpoints
from mmseg_psmt.visualization import (
    legend_of,
    painted,
    palette_of,
    pictures,
    sheet,
)


def load(work_dir: Path) -> Config:
    """The config of the latest start of a training."""
    return Config.fromfile(sorted(work_dir.glob('*/vis_data/config.py'))[-1])


def predictions(work_dir: Path, paths: List[str]) -> List[np.ndarray]:
    """Labels (H, W) of each image by the net that predicts first."""
    cfg = load(work_dir)
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    where = {
        dataset.get_data_info(i)['img_path']: i for i in range(len(dataset))
    }
    missing = [path for path in paths if path not in where]
    if missing:
        raise SystemExit(f'{work_dir} is not tested on {missing[0]}')
    images = [dataset[where[path]] for path in paths]
    model = init_model(
        cfg,
        results.last_checkpoint(work_dir),
        device='cuda' if torch.cuda.is_available() else 'cpu',
    )
    with torch.no_grad():
        found = [model.test_step(pseudo_collate([image])) for image in images]
    return [sample.pred_sem_seg.data[0].cpu().numpy() for (sample,) in found]


def heading(name: str, work_dir: Path) -> str:
    """A name, the iteration that is drawn, and what mIoU it has.

    That of the test if there is one, else that of a validation, as they were
    logged.
    """
    step = Path(results.last_checkpoint(work_dir)).stem.removeprefix('iter_')
    lines = [name, *([f'iteration {step}'] if step.isdigit() else [])]
    for validation, kind in ((False, ''), (True, 'validation ')):
        try:
            run = results.read(work_dir, validation)
        except (results.NoResult, ValueError):
            continue
        if run['iterations'] == step:
            lines.append(f'{kind}mIoU {results.score(run):.2f}')
            break
    return '\n'.join(lines)


def load_image(path: str) -> np.ndarray:
    """An image of any depth and number of channels, to be shown."""
    image = np.atleast_3d(mmcv.imread(path, 'unchanged'))
    if image.shape[2] > 2:
        image = image[..., 2::-1]  # mmcv loads BGR
    return pictures(image.transpose(2, 0, 1)[None])[0]


def main() -> None:
    args = parse_args()
    forbid_code_in_checkpoints()
    register_all_modules()
    runs = {
        name: Path(folder)
        for name, _, folder in (word.partition('=') for word in args.runs)
    }
    dataset = DATASETS.build(load([*runs.values()][0]).test_dataloader.dataset)
    count = min(args.images, len(dataset))
    chosen = np.linspace(0, len(dataset) - 1, count).astype(int)
    paths = [dataset.get_data_info(i)['img_path'] for i in chosen]
    palette, columns = palette_of(dataset.metainfo), {}
    if not args.labels_only:
        columns['image'] = [*map(load_image, paths)]
        samples = [dataset[i]['data_samples'] for i in chosen]
        if all('gt_sem_seg' in sample for sample in samples):
            columns['truth'] = [
                painted(sample.gt_sem_seg.data[0], palette)
                for sample in samples
            ]
    for name, folder in runs.items():
        columns[heading(name, folder)] = [
            painted(labels, palette) for labels in predictions(folder, paths)
        ]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    drawn = sheet(
        columns,
        rows=[Path(path).name for path in paths],
        legend=legend_of(dataset.metainfo),
    )
    Image.fromarray(drawn).save(args.out)
    print(f'{len(chosen)} images: {args.out}')


if __name__ == '__main__':
    main()
