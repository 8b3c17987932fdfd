"""Four gloo ranks that train together, and two that go on with it.

Ranks are forks of this process, which has imported everything already. What
one run shows is checked test by test.
"""

import copy
import multiprocessing
import os
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.structures import PixelData
from mmseg.registry import DATASETS, HOOKS, MODELS
from mmseg.structures import SegDataSample
from mmseg.utils import register_all_modules
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import Dataset

from mmseg_psmt.models import ConfCELoss

register_all_modules()
CONFIGS = Path(__file__).resolve().parents[1] / 'configs/psmt'
SIZE, WARMUP, STEPS, SAVED = 33, 4, 20, 16
SHARES = (1.0, 0.5, 0.1, 0.0)  # of confident pixels, by rank


@DATASETS.register_module(force=True)
class Drawn(Dataset):
    """Images of noise by index, alone or in the pairs of PairSampler."""

    def __init__(self, num):
        self.labeled = self.unlabeled = range(num)
        self.metainfo = dict(classes=[*'abcdef'])

    def __len__(self):
        return len(self.labeled)

    def __getitem__(self, index):
        if not isinstance(index, tuple):
            return view(index, index)
        labeled, unlabeled, (_, number) = index
        return dict(
            labeled=view(labeled, (labeled, unlabeled, number)),
            labeled_weak=view(labeled, labeled),
            weak=view(50 + unlabeled, unlabeled),
            strong=view(100 + unlabeled, unlabeled),
        )


def view(seed, name):
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(256, (3, SIZE, SIZE), generator=generator)
    mask = torch.randint(6, (1, SIZE, SIZE), generator=generator)
    sample = SegDataSample(gt_sem_seg=PixelData(data=mask))
    shape = dict.fromkeys(('ori_shape', 'img_shape'), (SIZE, SIZE))
    sample.set_metainfo(dict(img_path=name, **shape))
    return dict(inputs=image.byte(), data_samples=sample)


@MODELS.register_module(force=True)
class RankLoss(ConfCELoss):
    """Conf-CE that keeps another share of the pixels on each rank."""

    def forward(self, logits, targets, valid):
        share = SHARES[dist.get_rank() if ranks() else 0]
        confidence = targets.softmax(dim=1).amax(dim=1)
        self.threshold = confidence.quantile(1 - share).item() if share else 1
        self.kept = (confidence >= self.threshold).float().mean().item()
        return super().forward(logits, targets, valid)


def ranks():
    return dist.is_initialized() and dist.get_world_size()


@HOOKS.register_module(force=True)
class Notes(Hook):
    """What a rank saw, and the mean of the gradients of all ranks."""

    priority = 'LOW'  # the model knows the iteration

    def before_train(self, runner):
        self.pairs, self.confident, self.gap = [], [], 0.0
        runner.optim_wrapper.optimizer.register_step_pre_hook(
            lambda *_: self.compare(runner)
        )

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        samples = data_batch['labeled']['data_samples']
        self.pairs.append([sample.img_path for sample in samples])
        self.expected = None
        if runner.iter in (WARMUP + 1, STEPS - 1):
            net = runner.model.module
            before = copy.deepcopy(net.state_dict()), net.label_counts
            data = net.data_preprocessor(copy.deepcopy(data_batch), True)
            loss = net.parse_losses(net.loss(**data))[0]
            self.expected = torch.autograd.grad(
                loss, [*net.segmentor.parameters()]
            )
            net.load_state_dict(before[0])
            net.label_counts = before[1]
            for grad in self.expected:
                dist.all_reduce(grad.div_(ranks()))

    def compare(self, runner):
        if self.expected is None:
            return
        found = [p.grad for p in runner.model.module.segmentor.parameters()]
        for grad, mean in zip(found, self.expected):
            gap = (grad - mean).abs().max() / mean.abs().max()
            self.gap = max(self.gap, gap.item())

    def after_train_iter(self, runner, batch_idx, data_batch, outputs):
        consistency = runner.model.module.consistency
        self.confident.append(getattr(consistency, 'kept', None))


def config(folder, batch, resume):
    cfg = Config.fromfile(CONFIGS / 'deeplabv3plus_r18_shapes_1-8.py')
    loader = dict(num_workers=0, persistent_workers=False)
    val = dict(
        loader,
        dataset=dict(_delete_=True, type='Drawn', num=3),
        sampler=dict(round_up=False),
    )
    cfg.merge_from_dict(
        dict(
            model=dict(
                segmentor=dict(
                    backbone=dict(base_channels=8),
                    decode_head=dict(
                        in_channels=64,
                        c1_in_channels=8,
                        channels=8,
                        c1_channels=4,
                    ),
                ),
                data_preprocessor=dict(size=(SIZE, SIZE)),
                teachers=dict(
                    init='independent', decay=0.5, alternate_every=3
                ),
                consistency=dict(type='RankLoss', per_class=False),
                warmup_iters=WARMUP,
                ramp_iters=0,
            ),
            train_dataloader=dict(
                loader,
                batch_size=batch,
                dataset=dict(_delete_=True, type='Drawn', num=40),
            ),
            val_dataloader=val,
            train_cfg=dict(max_iters=STEPS, val_interval=STEPS),
            param_scheduler=[],
            default_hooks=dict(
                checkpoint=dict(interval=SAVED, save_last=False, save_best='')
            ),
            custom_hooks=[
                dict(type='TeacherEMAHook'),
                dict(type='CheckFiniteHook'),
                dict(type='EarlyWarningHook'),
                dict(type='PreemptionHook'),
                dict(type='Notes'),
            ],
            model_wrapper_cfg=dict(
                type='MMDistributedDataParallel',
                device_ids=None,
                broadcast_buffers=False,
                bucket_cap_mb=0.1,
            ),
            visualizer=dict(vis_backends=[]),
            work_dir=str(folder),
            launcher='pytorch',
            resume=resume,
            log_level='ERROR',
        )
    )
    cfg.default_hooks.checkpoint.pop('save_best')
    return cfg


def of_rank(rank, world, batch, folder, resume):
    dist.init_process_group(
        'gloo', f'file://{folder}/store{world}', rank=rank, world_size=world
    )
    os.chdir(folder)
    os.environ['LOCAL_RANK'] = str(rank)
    runner = Runner.from_cfg(config(folder, batch, resume))
    runner.train()
    (notes,) = (hook for hook in runner.hooks if isinstance(hook, Notes))
    scores = [runner.message_hub.get_scalar('val/mIoU').current()]
    ddp = runner.model._get_ddp_logging_data()
    torch.save(
        dict(
            model=runner.model.module.state_dict(),
            student=sum(
                p.nbytes for p in runner.model.module.segmentor.parameters()
            ),
            buckets=[*map(int, ddp['rebuilt_bucket_sizes'].split(', '))],
            pairs=notes.pairs,
            confident=notes.confident,
            gap=notes.gap,
            scores=scores,
        ),
        folder / f'{world}_{rank}.pth',
    )
    dist.barrier()
    dist.destroy_process_group()


def run(world, batch, folder, resume):
    fork = multiprocessing.get_context('fork')
    started = [
        fork.Process(target=of_rank, args=(rank, world, batch, folder, resume))
        for rank in range(world)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join(300)
    alive = [process for process in started if process.is_alive()]
    for process in alive:
        process.kill()
    assert not alive
    assert [process.exitcode for process in started] == [0] * world
    # mmengine, which loads checkpoints here, takes back what it allowed
    return [
        torch.load(folder / f'{world}_{i}.pth', weights_only=False)
        for i in range(world)
    ]


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('ranks')


@pytest.fixture(scope='module')
def four(folder):
    with pytest.MonkeyPatch.context() as patch:
        quicken(patch)
        return run(4, 2, folder, resume=False)


@pytest.fixture(scope='module')
def two(folder, four):
    """Half of the ranks with twice the batch, from the checkpoint."""
    with pytest.MonkeyPatch.context() as patch:
        quicken(patch)
        return run(2, 4, folder, resume=True)


def quicken(patch):
    """No config is formatted, and no compiler asked for its version."""
    patch.setattr(
        'yapf.yapflib.yapf_api.FormatCode', lambda text, **_: (text, True)
    )
    patch.setattr('mmengine.runner.runner.collect_env', dict)


def same_models(found):
    first, *others = (rank['model'] for rank in found)
    for other in others:
        for name, value in first.items():
            assert torch.equal(value, other[name]), name


def test_ranks_unequally_confident_end_with_the_same_nets(four):
    """Student, both teachers, and the statistics of all BN."""
    shares = torch.tensor([rank['confident'][WARMUP:] for rank in four]).mean(
        dim=1
    )
    assert shares[0] == 1 > shares[1] > shares[2] > shares[3] == 0
    assert all(rank['confident'][:WARMUP] == [None] * 4 for rank in four)
    same_models(four)
    model = four[0]['model']
    for name in ('teachers.0', 'teachers.1'):
        moved = [
            not torch.equal(value, model[key.replace(name, 'segmentor')])
            for key, value in model.items()
            if key.startswith(name) and 'running_mean' in key
        ]
        assert moved and all(moved)


def test_the_buckets_hold_the_student_alone_and_give_the_mean(four):
    for rank in four:
        assert len(rank['buckets']) > 2
        assert sum(rank['buckets']) == rank['student']
        assert 0 < rank['gap'] < 1e-4


def test_a_rank_without_an_image_validates_with_the_others(four):
    """Three images on four ranks; PreemptionHook waits for none."""
    scores = {tuple(rank['scores']) for rank in four}
    assert len(scores) == 1


def test_a_training_goes_on_with_other_ranks_and_the_same_images(four, two):
    def of_all(found, iteration):
        return sorted(
            pair for rank in found for pair in rank['pairs'][iteration]
        )

    assert len(two[0]['pairs']) == STEPS - SAVED
    for iteration in range(STEPS - SAVED):
        now = of_all(two, iteration)
        assert len(now) == 8
        assert now == of_all(four, SAVED + iteration)
    same_models(two)


@pytest.mark.parametrize(
    'name',
    [
        'deeplabv3plus_r50_voc_1-8',
        'pspnet_r50_voc_1-8',
        'fcn_hr18_voc_1-8',
        'segformer_mit-b0_voc_1-8',
    ],
)
def test_recipes_norm_over_all_gpus(name, monkeypatch):
    """SyncBN cannot run here: each layer of each net, in the whole world."""
    cfg = Config.fromfile(
        CONFIGS / f'{name}.py', import_custom_modules=False
    ).model
    cfg.segmentor.pretrained = None
    # numbers that a backbone reads
    monkeypatch.setattr(
        torch, 'linspace', partial(torch.linspace, device='cpu')
    )
    with torch.device('meta'):
        model = MODELS.build(cfg)
    for net in (model.segmentor, *model.teachers):
        norms = [x for x in net.modules() if isinstance(x, _BatchNorm)]
        assert norms
        assert all(isinstance(x, torch.nn.SyncBatchNorm) for x in norms)
        assert {x.process_group for x in norms} <= {None, dist.group.WORLD}
