"""A hook that writes down what each rank ends with."""

import atexit
from pathlib import Path

import torch
from mmengine.hooks import Hook, logger_hook
from mmseg.registry import HOOKS


@HOOKS.register_module()
class RankDumpHook(Hook):
    priority = 'LOWEST'

    def before_train(self, runner):
        self.images = []
        model = getattr(runner.model, 'module', runner.model)
        self.start = {k: v.clone() for k, v in model.state_dict().items()}

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.images.append(
            [
                [
                    sample.img_path
                    for sample in data_batch[view]['data_samples']
                ]
                for view in ('labeled', 'weak')
            ]
        )

    def after_train(self, runner):
        model = getattr(runner.model, 'module', runner.model)
        torch.save(
            dict(
                start=self.start,
                model=model.state_dict(),
                images=self.images,
                optimizer=len(runner.optim_wrapper.optimizer.state),
                student=len(list(model.segmentor.parameters())),
            ),
            f'{runner.work_dir}/rank{runner.rank}.pth',
        )
        atexit.register(
            write_threads, Path(runner.work_dir, f'rank{runner.rank}_threads')
        )

    def before_test(self, runner):
        dump = logger_hook.dump

        def noted(*args):
            Path(runner.work_dir, f'rank{runner.rank}_results').touch()
            dump(*args)

        logger_hook.dump = noted


def write_threads(path):
    path.write_text(
        ''.join(
            name.read_text() for name in Path('/proc/self/task').glob('*/comm')
        )
    )
