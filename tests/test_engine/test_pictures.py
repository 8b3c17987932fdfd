"""What is only looked at: any image can be shown, nothing ends a training."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmseg.registry import HOOKS
from test_psmt import batch, build

from mmseg_psmt.engine.hooks import pseudo_label_vis_hook
from mmseg_psmt.visualization import (
    curves,
    grays,
    legend_of,
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


def flat(height, width, color):
    return np.full((height, width, 3), color, np.uint8)


def where(out, color):
    """First and last row and column of a color, and how many have it."""
    rows, columns = (out == np.array(color)).all(2).nonzero()
    return (rows.min(), rows.max(), columns.min(), columns.max(), len(rows))


def test_a_sheet_of_any_sizes():
    one, two = (7, 90, 200), (90, 7, 200)
    cells = [flat(30, 40, one), flat(20, 50, two)]
    out = sheet({'a': cells, 'b': cells[1:]})
    zoom = 200 // 50
    top, bottom, left, right, count = where(out, one)
    assert (bottom - top + 1, right - left + 1) == (30 * zoom, 40 * zoom)
    assert left == 0 and count == 30 * 40 * zoom**2
    second, _, left, right, count = where(out, two)
    assert count == 2 * 20 * 50 * zoom**2
    assert (left, right) == (0, out.shape[1] - 1) and second == top
    assert out.shape[1] > 2 * 50 * zoom
    assert (out[bottom - 1, 40 * zoom : 50 * zoom] == 255).all()


@pytest.mark.parametrize('classes', [2, 60])
@pytest.mark.parametrize('columns', [1, 5])
def test_the_legend_has_every_class(classes, columns):
    meta = dict(classes=[f'class {i}' for i in range(classes)])
    cells = {str(i): [flat(64, 64, 128)] for i in range(columns)}
    plain = sheet(cells)
    out = sheet(cells, legend=legend_of(meta))
    assert out.shape[1] == plain.shape[1]
    below = out[len(plain) :]
    for color in palette_of(meta)[:classes]:
        assert where(below, color)[-1] > 50
    assert [name for name, _ in legend_of(None, 3)] == ['0', '1', '2']


def test_words_can_be_read_where_the_sheet_is_shown_at_1000_pixels():
    for side in (20, 200, 3000):
        cells = {name: [flat(side, side, 128)] for name in ('one', 'two')}
        out = sheet(cells, title='HELLO', rows=['HELLO'])
        words = np.where((out == 128).all(2, keepdims=True), 255, out)
        dark = (words < 100).all(2).any(1)
        ends = np.flatnonzero(np.diff(np.r_[False, dark, False].astype(int)))
        heights = (ends[1::2] - ends[::2]) * min(1, 1000 / out.shape[1])
        assert len(heights) == 3 and heights.min() > 7


def test_long_names_stay_in_their_columns():
    cells = {'i' * 500: [flat(64, 64, 128)], 'b': [flat(64, 64, 128)]}
    short = {'i': cells['b'], 'b': cells['b']}
    long, short = sheet(cells, 't' * 900), sheet(short, 't' * 900)
    assert long.shape == short.shape
    right = long.shape[1] // 2 + 1
    assert (long[:, right:] == short[:, right:]).all()


def test_curves_have_no_empty_panel():
    from PIL import Image

    def height(panels):
        return Image.open(io.BytesIO(curves(panels))).height

    one = {'a': [('x', {1: 2.0, 2: 3.0}), ('y', {})]}
    two = {**one, 'b': [('x', {2: 1.0})]}
    assert height(one) == height({'c': [('x', {})], **one, 'd': []})
    assert height(two) > 1.5 * height(one)
    assert curves({}) == curves({'a': [('x', {})]}) == b''


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
        work_dir='work_dirs/mine',
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


@pytest.mark.parametrize('masks', [0, 1, 2])
def test_what_a_sheet_says(model, masks, monkeypatch):
    """The truth where there is one, the iteration, files and classes."""
    from mmengine.structures import PixelData

    data, said = raw(), []
    for i, sample in enumerate(data['weak']['data_samples']):
        sample.set_metainfo(dict(img_path=f'photos/{i}.jpg'))
        if i < masks:
            sample.gt_sem_seg = PixelData(data=torch.full((1, 20, 20), 2))
    monkeypatch.setattr(
        pseudo_label_vis_hook,
        'sheet',
        lambda *words: said.append(words) or sheet(*words),
    )
    assert not run(model, data, Log(dict(classes='abcdefg')), iterations=2)
    columns, title, rows, legend = said[1]
    assert ('truth' in columns) == bool(masks) and len(columns) == 4 + (
        masks > 0
    )
    assert '2 of 9' in title and 'mine' in title
    assert rows == ['0.jpg', '1.jpg']
    assert [name for name, _ in legend][:-1] == [*'abcdefg']
    if masks:
        color = palette_of(dict(classes='abcdefg'))[2]
        first, second = columns['truth']
        assert (first[:20, :20] == color).all()
        assert (second[:20, :20] == (color if masks > 1 else 255)).all()


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
