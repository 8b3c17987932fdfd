"""What is only looked at: any image can be shown, nothing ends a training."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmseg.registry import HOOKS
from test_psmt import batch, build

from mmseg_psmt.visualization import (
    BAR,
    grays,
    painted,
    palette_of,
    pictures,
    sheet,
)

RAMP = np.linspace(0, 1, 12).reshape(1, 1, 3, 4)


@pytest.mark.parametrize('channels', [1, 2, 3, 4, 7])
@pytest.mark.parametrize(
    'kind, full',
    [(torch.uint8, 255), (torch.int32, 65535), (torch.float32, 1)],
)
def test_any_channels_and_depth(channels, kind, full):
    images = torch.from_numpy(RAMP * full).to(kind).repeat(2, channels, 1, 1)
    out = pictures(images)
    assert out.shape == (2, 3, 4, 3) and out.dtype == np.uint8
    np.testing.assert_allclose(
        out[1, ..., 0], (RAMP * 255).squeeze(), atol=1.01
    )
    assert (out == out[..., :1]).all()


def test_colors_are_those_of_the_first_three_channels():
    images = torch.tensor([10.0, 120.0, 250.0, 33.0]).view(1, 4, 1, 1)
    assert pictures(images)[0, 0, 0].tolist() == [10, 120, 250]
    # as they were before they were normalized
    mean, std = torch.full((3, 1, 1), 100.0), torch.full((3, 1, 1), 50.0)
    normal = (images[:, :3] - mean) / std
    assert pictures(normal, mean, std)[0, 0, 0].tolist() == [10, 120, 250]


def test_what_is_no_number_is_shown():
    wrong = torch.tensor([[[[float('nan'), 200.0], [float('inf'), 50.0]]]])
    assert pictures(wrong).shape == (1, 2, 2, 3)
    assert grays(torch.tensor([[0.0, 1.0, float('nan')]]))[
        0, :, 0
    ].tolist() == [0, 255, 0]


def test_labels_have_the_colors_of_their_classes():
    palette = palette_of(dict(classes='abc', palette=[[1, 2, 3], [4, 5, 6]]))
    colors = painted(torch.tensor([[0, 1, 2, 255, 9, -1, 300]]), palette)[0]
    assert colors[0].tolist() == [1, 2, 3] and colors[1].tolist() == [4, 5, 6]
    assert (colors[3:] == 255).all() and not (colors[2] == 255).all()
    for meta in (None, {}, dict(classes='abcdef', palette=None)):
        found = palette_of(meta, 6)[:6]
        assert len(np.unique(found, axis=0)) == 6
        assert not (found == 255).all(1).any()


def test_a_sheet_of_any_sizes():
    cells = [np.full((30, 40, 3), 7, np.uint8), np.full((20, 50, 3), 9)]
    out = sheet({'a': cells, 'b': cells[:1]})
    zoom = 160 // 50
    assert out.shape == (BAR + 2 * 30 * zoom, 2 * 50 * zoom, 3)
    assert (out[BAR : BAR + 30 * zoom, : 40 * zoom] == 7).all()
    assert (out[BAR + 30 * zoom :, 50 * zoom :] == 255).all()


class Log(list):
    """A visualizer that keeps its pictures."""

    def __init__(self, meta, fails=lambda name: False):
        super().__init__()
        self.dataset_meta, self.fails = meta, fails

    def add_image(self, name, image, step):
        if self.fails(name):
            raise ValueError('unknown file extension')
        self.append((name, image.shape, step))


def run(model, data, visualizer, iterations=3):
    """Pictures and warnings of a hook that draws at each iteration."""
    said = []
    runner = SimpleNamespace(
        model=model,
        visualizer=visualizer,
        iter=0,
        max_iters=9,
        logger=SimpleNamespace(warning=said.append),
        train_loop=SimpleNamespace(max_iters=9),
    )
    hook = HOOKS.build(dict(type='PseudoLabelVisHook', interval=1))
    for runner.iter in range(iterations):
        hook.after_train_iter(runner, runner.iter, data)
        assert model.training and model.segmentor.training
    return said


@pytest.fixture(scope='module')
def model():
    return build().train()


def raw(channels=3, value=200, size=20):
    from mmseg.structures import SegDataSample

    return {
        view: dict(
            inputs=[torch.full((channels, size, size), value)] * 2,
            data_samples=[SegDataSample(), SegDataSample()],
        )
        for view in ('labeled', 'weak', 'strong')
    }


@pytest.mark.parametrize('meta', [None, {}, dict(classes='abcdefg')])
def test_a_sheet_without_a_palette(model, meta):
    visualizer = Log(meta)
    assert not run(model, raw(), visualizer)
    assert [step for _, _, step in visualizer] == [1, 2, 3]


@pytest.mark.parametrize('channels', [1, 4])
def test_a_sheet_of_other_channels(channels):
    from test_psmt import SEGMENTOR

    segmentor = SEGMENTOR.copy()
    segmentor.backbone.in_channels = channels
    preprocessor = dict(size=(33, 33), mean=None, std=None, bgr_to_rgb=False)
    try:
        own = build(segmentor=segmentor, data_preprocessor=preprocessor)
    finally:
        segmentor.backbone.pop('in_channels')
    visualizer = Log(None)
    assert not run(own.train(), raw(channels, 40000), visualizer)
    assert len(visualizer) == 3


def test_a_backend_that_wants_a_suffix(model):
    visualizer = Log(None, lambda name: '.' not in name)
    assert not run(model, raw(), visualizer)
    assert {name for name, *_ in visualizer} == {'pseudo_labels.png'}


@pytest.mark.parametrize('spoil', ['backend', 'batch', 'model'])
def test_what_fails_is_one_warning(model, spoil, monkeypatch):
    data = raw()
    if spoil == 'batch':
        data['weak']['inputs'] = ['no', 'images']
    elif spoil == 'model':
        monkeypatch.setattr(model, 'pseudo_logits', lambda images: 1 / 0)
    visualizer = Log(None, lambda name: spoil == 'backend')
    said = run(model, data, visualizer)
    assert len(said) == 1 and 'goes on without it' in said[0]
    assert not visualizer
    monkeypatch.undo()
    model.iter = 0
    model.loss(**batch(model))  # as it was
