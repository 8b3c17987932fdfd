"""benchmark_memory.py against what torch itself allocates."""

import sys
from pathlib import Path

import benchmark_memory as memory
import pytest
import torch
from mmengine import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmseg.registry import MODELS
from mmseg.utils import register_all_modules
from torch.profiler import ProfilerActivity, profile

REPO = Path(__file__).resolve().parents[2]
register_all_modules()
CONFIG = REPO / 'configs/psmt/deeplabv3plus_r18_shapes_1-8.py'
MIB = 2**20
NARROW = dict(
    backbone=dict(base_channels=8),
    decode_head=dict(
        in_channels=64, c1_in_channels=8, channels=16, c1_channels=8
    ),
)


def storage(tensors):
    return sum(-(-t.nbytes // 512) * 512 for t in tensors)


def profiled(model, optim_wrapper, crop, num, warmup):
    """Peak of a step with real tensors, from torch's profiler.

    Memory that a convolution on the CPU takes and gives back is left out.
    """
    net = revert_sync_batchnorm(MODELS.build(model))
    net.iter = 0 if warmup else getattr(net, 'warmup_iters', 0)
    optim = build_optim_wrapper(net, optim_wrapper)
    memory.train_step(net, optim, crop, num)
    with profile(
        activities=[ProfilerActivity.CPU], profile_memory=True
    ) as profiler:
        memory.train_step(net, optim, crop, num)
    events = profiler.profiler.kineto_results.experimental_event_tree()
    for event in events:
        events += event.children
    events = sorted(
        (event for event in events if event.name == '[memory]'),
        key=lambda event: event.start_time_ns,
    )
    live = peak = storage(
        [
            *net.parameters(),
            *net.buffers(),
            *(
                state['momentum_buffer']
                for state in optim.optimizer.state.values()
            ),
        ]
    )
    taken, scratch = {}, set()
    for event in events:
        before = taken.pop(event.extra_fields.ptr, None)
        if event.extra_fields.alloc_size > 0:
            taken[event.extra_fields.ptr] = event
        elif (
            before
            and before.parent == event.parent
            and ('conv' in getattr(event.parent, 'name', ''))
        ):
            scratch |= {before.id, event.id}
    for event in events:
        if event.id not in scratch:
            live += event.extra_fields.alloc_size
            peak = max(peak, live)
    return peak


@pytest.mark.parametrize('phase', ['warm-up', 'PS-MT', 'supervised'])
def test_a_computed_peak_is_that_of_real_tensors(phase):
    cfg = Config.fromfile(CONFIG)
    cfg.merge_from_dict(
        dict(model=dict(segmentor=NARROW, teachers=dict(init='independent')))
    )
    model, num = (
        (cfg.model.segmentor, 8) if phase == 'supervised' else (cfg.model, 4)
    )
    warmup = phase == 'warm-up'
    args = model, cfg.optim_wrapper
    (peak,) = memory.peaks(*args, [((65, 65), num)], warmup=warmup)
    assert peak == pytest.approx(
        profiled(*args, (65, 65), num, warmup), rel=0.01
    )


def test_a_storage_counts_once_and_while_it_lives():
    with memory.AllocationTrace() as trace:
        a = torch.empty(MIB, dtype=torch.uint8)
        b = a.view(2, -1)[0].add_(1)
        assert trace.live == MIB
        c = torch.empty(1)  # CUDA allocates 512 bytes at least
        assert trace.live == MIB + 512
        del a
        assert trace.live == MIB + 512  # its view is alive
        del b
        assert trace.live == 512
        d = torch.empty(2 * MIB, dtype=torch.uint8)
        del c, d
    assert (trace.live, trace.peak) == (0, 2 * MIB + 512)


def test_saved_tensors_make_the_peak():
    """exp keeps its result for the backward pass, addition keeps nothing."""
    with memory.FakeTensorMode(), memory.AllocationTrace() as trace:
        x = torch.empty(MIB // 4, requires_grad=True)
        for _ in range(5):
            x = (x.exp() + 1) + 1
    assert trace.live == 7 * MIB  # leaf, five results of exp, and x


@pytest.mark.parametrize(
    'peak, expected', [(6.3, 8), (6.4, 11), (70, 80), (72, None)]
)
def test_the_card_has_room_for_the_allowance(peak, expected):
    smaller = {'PS-MT': peak * 2**29, 'supervised': 99 * 2**30}
    assert memory.card({**smaller, 'PS-MT': peak * 2**30}) == expected
    assert memory.card({**smaller, 'warm-up': peak * 2**30}) == expected


def test_the_table(monkeypatch, capsys):
    monkeypatch.setattr(
        sys,
        'argv',
        [
            'memory',
            str(CONFIG),
            '--batch',
            '1',
            '2',
            '--crop',
            '65',
            '--amp',
            'bfloat16',
            '--cfg-options',
            'model.segmentor.backbone.with_cp=True',
            'model.teachers.init=independent',
        ],
    )
    memory.main()
    out = capsys.readouterr().out
    assert 'Peaks are computed, in GiB, with bfloat16' in out
    cfg = Config.fromfile(CONFIG)
    cfg.model.segmentor.backbone.with_cp = True
    cfg.model.teachers = dict(init='independent')
    columns = [
        memory.peaks(
            model,
            cfg.optim_wrapper,
            [((65, 65), share * num) for num in (1, 2)],
            torch.bfloat16,
            warmup,
        )
        for model, share, warmup in (
            (cfg.model, 1, True),
            (cfg.model, 1, False),
            (cfg.model.segmentor, 2, False),
        )
    ]
    for num, line, row in zip((1, 2), out.splitlines()[-2:], zip(*columns)):
        gib = ' | '.join(f'{size / 2**30:.2f}' for size in row)
        assert line == (
            f'| {CONFIG.stem} | 65x65 | {num} + {num} | {gib} | '
            f'{row[1] / row[2]:.2f} | 8 |'
        )


def test_autocast_and_checkpointing_save_memory():
    def peak(amp=None, **backbone):
        cfg = Config.fromfile(CONFIG)
        cfg.model.segmentor.backbone.update(backbone)
        return memory.peaks(
            cfg.model.segmentor, cfg.optim_wrapper, [((64, 64), 16)], amp
        )[0]

    assert peak(torch.bfloat16) < 0.8 * peak()
    assert peak(with_cp=True) < 0.9 * peak()


@pytest.mark.parametrize(
    'words, message',
    [
        (['nowhere.py'], 'the config nowhere.py does not exist'),
        ([CONFIG, '--batch', 0], '--batch needs whole numbers of at least 1'),
        (
            [f'{CONFIG}'.replace('.py', '_supervised.py')],
            "trains 'EncoderDecoder': give a config with model.type='PSMT'",
        ),
    ],
)
def test_a_wrong_word_is_named(monkeypatch, capsys, words, message):
    monkeypatch.setattr(sys, 'argv', ['memory', *map(str, words)])
    with pytest.raises(SystemExit) as error:
        memory.main()
    assert message in f'{error.value}{capsys.readouterr().err}'
