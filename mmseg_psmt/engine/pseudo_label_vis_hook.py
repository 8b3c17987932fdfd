"""Pictures of the pseudo labels while they are made."""
from typing import Optional

import cv2
import numpy as np
import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS
from torch import Tensor

from ..options import require_whole
from .early_warning_hook import tenth
from .teacher_ema_hook import unwrap

COLUMNS = ('image', 'truth', 'pseudo label', 'confidence', 'student')


@HOOKS.register_module()
class PseudoLabelVisHook(Hook):
    """Draw a sheet of unlabelled images through the runner's visualizer.

    A row is the weak image, its truth where a mask was loaded, the pseudo
    label with unconfident pixels in white, the confidence (black 0, white 1)
    and the student's prediction.

    Args:
        interval (int, optional): Iterations between sheets. Defaults to a
            tenth of those after the warm-up, with one sheet at its end. The
            last iteration has one in any case.
        num_images (int): Rows at the most. Defaults to 4.
    """
    priority = 'LOW'

    def __init__(self,
                 interval: Optional[int] = None,
                 num_images: int = 4):
        if interval is not None:
            require_whole('interval', interval, 1)
        require_whole('num_images', num_images, 1)
        self.interval = interval
        self.num_images = num_images

    def after_train_iter(self,
                         runner: Runner,
                         batch_idx: int,
                         data_batch: Optional[dict] = None,
                         outputs: Optional[dict] = None) -> None:
        if is_main_process() and (self._is_due(runner)
                                  or self.is_last_train_iter(runner)):
            runner.visualizer.add_image('pseudo_labels',
                                        self.draw(runner, data_batch),
                                        runner.iter + 1)

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
        images = batch['inputs']['weak'][:self.num_images]
        samples = batch['data_samples']['weak'][:self.num_images]
        model.eval()
        confidence, label = model.pseudo_logits(images).softmax(1).max(1)
        student = model.logits(model.segmentor, images).argmax(1)
        model.train()
        palette = np.array(
            runner.visualizer.dataset_meta['palette'], dtype=np.uint8)

        def paint(labels: Tensor) -> np.ndarray:
            labels = labels.cpu().numpy()
            painted = palette[np.minimum(labels, len(palette) - 1)]
            painted[labels >= len(palette)] = 255
            return painted

        rows = []
        for i, sample in enumerate(samples):
            image = images[i] * getattr(model.data_preprocessor, 'std', 1)
            image = image + getattr(model.data_preprocessor, 'mean', 0)
            image = image.clamp(0, 255).byte().permute(1, 2, 0).cpu().numpy()
            truth = (
                paint(sample.gt_sem_seg.data[0])
                if 'gt_sem_seg' in sample else np.full_like(image, 255))
            sure = confidence[i] >= model.consistency.threshold
            pseudo = paint(label[i].where(sure, torch.full_like(label[i],
                                                                255)))
            grey = (confidence[i] * 255).byte().cpu().numpy()
            rows.append(
                np.hstack([
                    image, truth, pseudo, np.dstack([grey] * 3),
                    paint(student[i])
                ]))
        zoom = max(1, 160 // images.shape[3])
        sheet = np.vstack(rows).repeat(zoom, 0).repeat(zoom, 1)
        return np.vstack([_title(zoom * images.shape[3]), sheet])


def _title(width: int) -> np.ndarray:
    bar = np.full((20, width * len(COLUMNS), 3), 255, np.uint8)
    for i, text in enumerate(COLUMNS):
        cv2.putText(bar, text, (i * width + 3, 14), cv2.FONT_HERSHEY_SIMPLEX,
                    0.4, (0, 0, 0), 1, cv2.LINE_AA)
    return bar
