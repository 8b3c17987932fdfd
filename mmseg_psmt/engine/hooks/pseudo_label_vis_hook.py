"""Pictures of the pseudo labels while they are made."""

from pathlib import Path
from typing import Optional

import numpy as np
import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS

from ...models.pseudo_label import confident_pixels
from ...options import require_whole
from ...visualization import (
    grays,
    legend_of,
    painted,
    palette_of,
    pictures,
    sheet,
)
from ..model import unwrap
from .early_warning_hook import tenth

NAME = 'pseudo_labels'


@HOOKS.register_module()
class PseudoLabelVisHook(Hook):
    """Draw a sheet of unlabeled images through the runner's visualizer.

    A row is the weak image, its truth if masks were loaded, the pseudo label
    with unconfident pixels in white, the confidence (black 0, white 1) and the
    student's prediction. What cannot be drawn or logged is a warning, once;
    the training goes on.

    Args:
        interval (int, optional): Iterations between sheets. Defaults to a
            tenth of those after the warm-up, with one sheet at its end. The
            last iteration has one in any case.
        num_images (int): Rows at the most. Defaults to 4.
    """

    priority = 'LOW'

    def __init__(self, interval: Optional[int] = None, num_images: int = 4):
        if interval is not None:
            require_whole('interval', interval, 1)
        require_whole('num_images', num_images, 1)
        self.interval = interval
        self.num_images = num_images
        self.name, self.warned = NAME, False

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Optional[dict] = None,
        outputs: Optional[dict] = None,
    ) -> None:
        if not (
            is_main_process()
            and (self._is_due(runner) or self.is_last_train_iter(runner))
        ):
            return
        try:
            self._log(runner, self.draw(runner, data_batch))
        except Exception as error:
            if not self.warned:
                runner.logger.warning(
                    'The sheet of pseudo labels cannot be drawn or logged '
                    f'({type(error).__name__}: {error}): the training goes on '
                    'without it. To be rid of this line, take '
                    'PseudoLabelVisHook out of custom_hooks'
                )
            self.warned = True

    def _log(self, runner: Runner, picture: np.ndarray) -> None:
        try:
            runner.visualizer.add_image(self.name, picture, runner.iter + 1)
        except Exception:
            if self.name != NAME:
                raise
            self.name = f'{NAME}.png'  # some, as MLflow, ask for a suffix
            runner.visualizer.add_image(self.name, picture, runner.iter + 1)

    def _is_due(self, runner: Runner) -> bool:
        if self.interval:
            return self.every_n_train_iters(runner, self.interval)
        done = runner.iter + 1 - unwrap(runner).warmup_iters
        return done == 1 or (done > 0 and done % tenth(runner) == 0)

    @torch.no_grad()
    def draw(self, runner: Runner, data_batch: dict) -> np.ndarray:
        """Sheet of the first images of a batch, uint8 RGB (H, W, 3)."""
        model = unwrap(runner)
        batch = model.data_preprocessor(data_batch, training=True)
        images = batch['inputs']['weak'][: self.num_images]
        samples = batch['data_samples']['weak'][: self.num_images]
        model.eval()
        try:
            logits = model.pseudo_logits(images)
            student = model.logits(model.segmentor, images).argmax(1)
        finally:
            model.train()
        loss = model.consistency
        confidence, label, sure = confident_pixels(
            logits,
            loss.threshold,
            batch['inputs']['valid'][: len(images)],
            getattr(loss, 'per_class', False),
        )
        meta, num_classes = runner.visualizer.dataset_meta, logits.size(1)
        palette = palette_of(meta, num_classes)
        shown = pictures(
            images,
            getattr(model.data_preprocessor, 'mean', 0.0),
            getattr(model.data_preprocessor, 'std', 1.0),
        )

        def paint(labels: torch.Tensor) -> list:
            return [painted(x, palette) for x in labels]

        truth = [
            painted(sample.gt_sem_seg.data[0], palette)
            if 'gt_sem_seg' in sample
            else np.full_like(shown[0], 255)
            for sample in samples
        ]
        has_truth = any('gt_sem_seg' in sample for sample in samples)
        return sheet(
            {
                'photo': shown,
                **({'truth': truth} if has_truth else {}),
                'pseudo label': paint(label.masked_fill(~sure, 255)),
                'confidence, white: 1': [grays(x) for x in confidence],
                'student': paint(student),
            },
            f'iteration {runner.iter + 1} of {runner.max_iters}, '
            f'{Path(runner.work_dir).name}',
            [Path(sample.get('img_path', '')).name for sample in samples],
            [
                *legend_of(meta, num_classes),
                ('not confident' + ' or no class' * has_truth, [255] * 3),
            ],
        )
