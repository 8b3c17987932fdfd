"""The page that a training leaves in its folder."""

import base64
import io
import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from analysis_tools import results
from mmengine import Config
from mmseg.utils import register_all_modules
from PIL import Image

from mmseg_psmt.engine import logs, report
from mmseg_psmt.engine.report import write_report

DATA = dict(data_root='mine', data_prefix=dict(img_path='images/val'))
PLAIN = dict(type='EncoderDecoder')
PSMT = dict(type='PSMT', segmentor=PLAIN, predict_with=['teachers', 'student'])
VOID = ('meta', 'img')


class Page(HTMLParser):
    """Headings, tables and pictures; fails where tags are not closed."""

    def __init__(self, path):
        super().__init__()
        self.open, self.heads, self.tables, self.images = [], [], [], []
        self.links = []
        text = path.read_text(encoding='utf-8')
        assert text.startswith('<!DOCTYPE html>')
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.links += [attrs[k] for k in ('src', 'href') if k in attrs]
        if tag == 'img':
            kind, _, data = attrs['src'].partition(';base64,')
            image = Image.open(io.BytesIO(base64.b64decode(data)))
            assert kind == f'data:image/{image.format.lower()}'
            self.images.append(image)
        if tag == 'table':
            self.tables.append([])
        if tag == 'tr':
            self.tables[-1].append([])
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        assert tag in VOID
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ('td', 'th'):
            self.tables[-1][-1].append(data)
        if self.open and self.open[-1] in ('h1', 'h2'):
            self.heads.append(data)


def table(**ious):
    rows = ''.join(f'| {name} | {iou} | 9.0 |\n' for name, iou in ious.items())
    return f'per class results:\n| Class | IoU | Acc |\n{rows}'


def train(work_dir, entries, tables='', model=PSMT, data=DATA, **cfg):
    """What a training leaves behind."""
    start = Path(work_dir, '20260101_000000')
    (start / 'vis_data').mkdir(parents=True, exist_ok=True)
    (start / f'{start.name}.log').write_text(tables)
    (start / 'vis_data/scalars.json').write_text(
        ''.join(json.dumps(entry) + '\n' for entry in entries)
    )
    Config(dict(model=model, val_dataloader=dict(dataset=data), **cfg)).dump(
        start / 'vis_data/config.py'
    )
    return Path(work_dir)


SEMI = [
    dict(step=50, loss=0.9),
    {'step': 100, 'mIoU': 40.0, 'student/mIoU': 41.0},
    {'step': 150, 'loss': 0.5, 'unsup.loss': 0.2, 'unsup.confident': 0.7},
    {'step': 200, 'mIoU': 55.5, 'student/mIoU': 54.25},
]
TABLES = (
    table(sky=1, car=2)
    + table(sky=3, car=4)
    + table(sky=80.5, car=30.5)
    + table(sky='nan', car=54.25)
)
TWIN = [dict(step=100, loss=0.4), dict(step=200, mIoU=50.0)]


@pytest.fixture(scope='module', autouse=True)
def registered():
    register_all_modules()


@pytest.fixture
def semi(tmp_path):
    return train(tmp_path / 'semi', SEMI, TABLES)


def twin_of(semi, entries=TWIN, **options):
    return train(
        f'{semi}_supervised',
        entries,
        table(sky=90, car=10),
        **{'model': PLAIN, **options},
    )


def test_each_class_stands_beside_that_of_the_twin(semi):
    twin_of(semi)
    page = Page(write_report(semi))
    assert page.tables[0] == [
        ['class', 'teachers at 200', 'student at 200', 'supervised at 200']
        + ['gain'],
        ['sky', '80.50', '–', '90.00', '-9.50'],
        ['car', '30.50', '54.25', '10.00', '+20.50'],
        ['mIoU', '55.50', '54.25', '50.00', '+5.50'],
    ]
    assert all(link.startswith('data:image/') for link in page.links)


@pytest.mark.parametrize('other', ['none', 'images', 'unvalidated'])
def test_without_a_twin_to_compare_with(semi, other):
    if other == 'images':
        twin_of(semi, data=dict(DATA, data_root='other'))
    elif other == 'unvalidated':
        twin_of(semi, TWIN[:1])
    head, *_, last = Page(write_report(semi)).tables[0]
    assert head == ['class', 'teachers at 200', 'student at 200']
    assert last == ['mIoU', '55.50', '54.25']


def test_the_twin_may_be_elsewhere(semi, tmp_path):
    twin_of(tmp_path / 'other', [dict(step=200, mIoU=10.0)])
    page = Page(write_report(semi, tmp_path / 'other_supervised'))
    assert page.tables[0][-1][-2:] == ['10.00', '+45.50']
    assert logs.twin_of(semi).name == 'semi_supervised'
    (tmp_path / 'a_supervised/seed1').mkdir(parents=True)
    found = logs.twin_of(tmp_path / 'a/seed1')
    assert found == tmp_path / 'a_supervised/seed1'


def test_the_twin_has_a_page_of_its_own(semi):
    page = Page(write_report(twin_of(semi)))
    assert page.tables[0][0] == ['class', 'supervised at 200']
    assert len(page.tables) == 1 and len(page.images) == 1


def test_curves_of_both(semi, monkeypatch):
    twin_of(semi)
    drawn = []
    monkeypatch.setattr(report, 'curves', lambda x: drawn.append(x) or b'')
    write_report(semi)
    shown = {
        title: {name: points for name, points in lines if points}
        for title, lines in drawn[0].items()
    }
    unsup = shown.pop('unsupervised loss')
    share = shown.pop('share of the pixels')
    assert shown == {
        'validation mIoU': {
            'teachers': {100: 40.0, 200: 55.5},
            'student': {100: 41.0, 200: 54.25},
            'supervised': {200: 50.0},
        },
        'supervised loss': {
            'student': {50: 0.9, 150: pytest.approx(0.3)},
            'supervised': {100: 0.4},
        },
    }
    assert unsup == {'student': {150: 0.2}}
    assert share == {'confident': {150: 0.7}}


def test_the_loss_of_independent_teachers_is_not_that_of_the_student():
    entry = {
        'step': 50,
        'loss': 3.5,
        'sup.decode.loss_ce': 1.0,
        'sup.decode.acc_seg': 90.0,
        'warm1.decode.loss_ce': 1.5,
        'warm1.decode.acc_seg': 50.0,
        'warm2.decode.loss_ce': 1.0,
    }
    assert logs.losses([entry])['supervised loss'] == {50: 1.0}


def test_the_last_sheets_are_in_the_page(semi):
    folder = semi / '20260101_000000/vis_data/vis_image'
    folder.mkdir()
    colors = [(200, 0, 0), (0, 200, 0), (0, 0, 200)]
    for i, color in enumerate(colors):
        image = np.full((300, 2000, 3), color, np.uint8)
        Image.fromarray(image).save(folder / f'pseudo_labels_{i}.png')
    _, *images = Page(write_report(semi)).images
    assert [image.size for image in images] == [(1000, 150)] * 2
    for image, color in zip(images, colors[1:]):
        np.testing.assert_allclose(image.getpixel((500, 70)), color, atol=4)


def test_settings_that_differ_from_the_default(tmp_path):
    model = dict(
        PSMT,
        unsup_weight=0.5,
        ramp_iters=None,
        teachers=dict(num=2, decay=0.9),
        tvat=dict(eps=2.0, xi=0.2),
        mix=[],
        consistency=dict(type='SoftmaxMSELoss'),
    )
    hooks = [
        dict(type='PseudoLabelVisHook', interval=7),
        dict(type='SummaryHook'),
        dict(type='EMAHook', momentum=0.3),
    ]
    run = train(tmp_path / '<run>', [], model=model, custom_hooks=hooks)
    page = Page(write_report(run))
    assert page.heads[0].endswith('/<run>')
    rows = {name: (here, other) for name, here, other in page.tables[0][1:]}
    mix = rows.pop('model.mix')
    assert mix[0] == '[]' and 'TeacherGuidedCutMix' in mix[1]
    loss = rows.pop('model.consistency')
    assert 'SoftmaxMSELoss' in loss[0] and 'ConfCELoss' in loss[1]
    assert rows == {
        'model.unsup_weight': ('0.5', '1.0'),
        'model.teachers.decay': ('0.9', 'None'),
        'model.tvat.xi': ('0.2', '0.1'),
        'PseudoLabelVisHook.interval': ('7', 'None'),
    }


def test_what_was_not_logged_has_no_section(tmp_path):
    page = Page(write_report(train(tmp_path / 'run', [], model=PLAIN)))
    assert len(page.heads) == 1 and not page.images and not page.tables
    with pytest.raises(ValueError, match='LocalVisBackend'):
        write_report(tmp_path)


def test_the_tool_writes_the_page_of_each_run(semi, tmp_path, capsys):
    twin_of(semi)
    results.report([semi, tmp_path / 'gone'])
    said = capsys.readouterr().err.splitlines()
    assert said[0] == f'report: {semi}/report.html'
    assert str(tmp_path / 'gone') in said[1]
    assert Page(semi / 'report.html').tables
