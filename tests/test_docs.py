"""The blocks of the documents, run as they stand there."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import bench
import numpy as np
import pytest
import torch
from analysis_tools import results
from fake_data import fake_shapes
from mmengine import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from mmseg.utils import register_all_modules
from PIL import Image

REPO = Path(__file__).resolve().parents[1]


def blocks(page, language):
    return re.findall(
        rf'```{language}\n(.*?)```', (REPO / page).read_text(), re.DOTALL
    )


@pytest.fixture(scope='module')
def mine(tmp_path_factory):
    """A folder with the images of docs/custom_data.md, some of them broken."""
    root = tmp_path_factory.mktemp('project')
    for name in ('configs', 'tools'):
        (root / name).symlink_to(REPO / name)
    shapes = root / 'shapes'
    fake_shapes(shapes, 40, 4)
    for part, wanted in (('train', 'train_0000?'), ('val', 'val_*')):
        for kind, source in (
            ('images', 'JPEGImages'),
            ('masks', 'SegmentationClass'),
        ):
            folder = root / 'mine' / kind / part
            folder.mkdir(parents=True)
            for file in (shapes / source).glob(f'{wanted}.*'):
                file.rename(folder / file.name)
    photos = root / 'mine/photos'
    (photos / 'more').mkdir(parents=True)
    suffixes = ['.jpg', '.JPG', '.png', '.bmp', '.tif', '.webp', '.jpeg']
    rest = sorted((shapes / 'JPEGImages').iterdir())
    for i, file in enumerate(rest):
        image = Image.open(file).resize((50 + 5 * i, 90 - i))
        folder = photos / 'more' if i % 2 else photos
        image.save(folder / f'{i}{suffixes[i % len(suffixes)]}')
    (photos / '0.jpg').write_bytes((photos / '0.jpg').read_bytes()[:700])
    (photos / '2.png').write_text('no image')
    for block in blocks('docs/custom_data.md', 'python'):
        (root / block.splitlines()[0].lstrip('# ')).write_text(block)
    return root


def run(line, root):
    words = [sys.executable, *shlex.split(line)[1:]]
    if 'train.py' in line:
        words += [
            '--cfg-options',
            'train_cfg.max_iters=4',
            'default_hooks.checkpoint.interval=4',
            'default_hooks.logger.interval=1',
        ]
    done = subprocess.run(
        words,
        cwd=root,
        env={
            **os.environ,
            'OMP_NUM_THREADS': '1',
            'PYTHONPATH': f'{REPO / "tests/stubs"}:'
            f'{os.environ.get("PYTHONPATH", "")}',
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout


def miou(out):
    return float(re.findall(r' mIoU: (\d+\.\d+)', out)[-1])


def test_custom_data_from_a_folder_to_a_plain_model(mine):
    init, check, train, test, network, splits, quarter = blocks(
        'docs/custom_data.md', 'bash'
    )
    by_hand = Config.fromfile(mine / 'mine/semi.py').to_dict()
    (mine / 'mine/semi.py').unlink()
    out = run(init, mine)
    assert Config.fromfile(mine / 'mine/semi.py').to_dict() == by_hand
    assert out.splitlines()[-3:] == train.splitlines()
    assert 'fit' in out.splitlines()
    out = run(check, mine)
    assert (mine / 'work_dirs/semi/check_data.png').exists()
    twin, semi, compare = train.splitlines()
    test, export = test.replace('iter_1000', 'iter_4').splitlines()
    supervised = miou(run(twin, mine))
    out = run(semi, mine)
    num = len([p for p in (mine / 'mine/photos').rglob('*') if p.is_file()])
    assert re.search(rf'2 of {num} unlabeled images are broken', out)
    for broken in ('mine/photos/0.jpg', 'mine/photos/2.png'):
        assert re.search(rf'{broken}: \w', out)
    assert 'unsup.loss' in out
    last = miou(out)
    header, _, *rows = [
        line.split(' | ') for line in run(compare, mine).splitlines()
    ]
    plain, psmt = (dict(zip(header, row)) for row in rows)
    assert (plain['| config'], psmt['| config']) == (
        '| semi_supervised',
        '| semi',
    )
    assert plain['iterations'] == psmt['iterations'] == '4'
    assert float(plain['student']) == supervised
    assert float(psmt['teachers']) == last
    assert float(psmt['gain']) == pytest.approx(last - supervised, abs=0.006)
    assert miou(run(test, mine)) == last
    out = run(export, mine)
    passes, average = re.search(
        r'two passes (\S+), the exported average (\S+) ', out
    ).groups()
    assert float(passes) == last
    plain = '''python -c "
import sys
sys.modules['mmseg_psmt'] = None
from mmseg.apis import MMSegInferencer, inference_model, init_model
model = init_model('mine/plain.py', 'mine/plain.pth', 'cpu')
image = 'mine/photos/more/1.JPG'
one = inference_model(model, image).pred_sem_seg.data[0].numpy()
two = MMSegInferencer('mine/plain.py', 'mine/plain.pth')(image)['predictions']
assert (one == two).all() and one.shape == (89, 55)
"'''
    run(plain, mine)
    stock = (
        'import runpy; '
        "import sys; sys.modules['mmseg_psmt'] = None; "
        "sys.argv = ['test.py', 'mine/plain.py', 'mine/plain.pth']; "
        'import mmseg; runpy.run_path(mmseg.__path__[0] '
        "+ '/.mim/tools/test.py', run_name='__main__')"
    )
    out = run(f'python -c "{stock}"', mine)
    assert miou(out) == float(average)
    assert 'fit' in run(network, mine).splitlines()
    assert Config.fromfile(
        mine / 'mine/pspnet_psmt.py'
    ).model.segmentor.decode_head == dict(
        type='PSPHead', in_channels=256, in_index=3, channels=64, num_classes=6
    )
    run(splits, mine)
    lists = [
        (mine / f'mine/splits/{part}.txt').read_text().split()
        for part in ('labeled', 'unlabeled')
    ]
    assert {*lists[0], *lists[1]} == {
        path.stem for path in (mine / 'mine/images/train').iterdir()
    }
    out = run(quarter, mine)
    for part, names in zip(('labeled', 'unlabeled'), lists):
        assert re.search(rf'^{part}: {len(names)} images', out, re.M)
    assert 'fit' in out.splitlines()


PAGES = [
    REPO / 'README.md',
    REPO / 'configs/psmt/README.md',
    *sorted((REPO / 'docs').glob('*.md')),
    REPO / '.github/pull_request_template.md',
]


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = page.read_text()
    for link in re.findall(r'\]\(([^)\s]+)\)', text):
        target, _, anchor = link.partition('#')
        if '://' in target:
            continue
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), link
        if anchor:
            heads = re.findall(r'^#+ (.*)', file.read_text(), re.M)
            assert anchor in [
                re.sub(r'[^\w\- ]', '', head).lower().replace(' ', '-')
                for head in heads
            ], link


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_exist(page):
    text = page.read_text()
    # those of another version are named with its commit
    text = '\n'.join(
        part for part in text.split('\n\n') if '84eed6d' not in part
    )
    for name in re.findall(
        r'\b(?:tools|tests|configs|docs)/[\w./-]+\.\w+', text
    ):
        assert (REPO / name).exists(), name


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_tests_that_a_page_names_exist(page):
    tests = ''.join(
        file.read_text()
        for file in sorted((REPO / 'tests').rglob('test_*.py'))
    )
    for name in {*re.findall(r'`(test_\w+)`', page.read_text())} - {
        'test_cfg'
    }:
        assert f'def {name}(' in tests, name


def test_the_readme_is_short():
    assert len(PAGES[0].read_text().splitlines()) <= 120


def labels():
    generator = torch.Generator().manual_seed(0)
    samples = [SegDataSample() for _ in range(2)]
    for sample in samples:
        sample.gt_sem_seg = PixelData(
            data=torch.randint(6, (1, 64, 64), generator=generator)
        )
    return samples


class Batches(torch.utils.data.Dataset):
    """Four flat images."""

    metainfo = {}

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return dict(
            inputs=torch.full((3, 64, 64), 50 * index).byte(),
            data_samples=labels()[0],
        )


class Recorder(Hook):
    """Keeps a weight of the student after each iteration."""

    def __init__(self):
        self.weights = []

    def after_train_iter(self, runner, *args, **kwargs):
        self.weights.append(runner.model.decode_head.conv_seg.weight.clone())


def test_each_part_works_alone(tmp_path):
    """docs/components.md"""
    register_all_modules()
    names = [{} for _ in range(4)]
    for block, space in zip(blocks('docs/components.md', 'python'), names):
        exec(block, space)
    assert names[0]['student'].grad.abs().sum() > 0
    assert names[1]['images'].shape == (4, 3, 64, 64)

    cfg = Config.fromfile(
        REPO / 'configs/psmt/deeplabv3plus_r18_shapes_1-8_supervised.py'
    )
    cfg.model.backbone.base_channels = 8
    cfg.model.decode_head.update(
        in_channels=64, c1_in_channels=8, channels=8, c1_channels=4
    )
    student, teacher = (MODELS.build(cfg.model) for _ in range(2))
    samples = torch.randn(2, 3, 64, 64), labels()
    adversarial = names[2]['adversarial_loss']
    student.decode_head.dropout = None
    student.eval()
    plain = student.loss(*samples)['decode.loss_ce']
    assert (
        adversarial(student, teacher.eval(), *samples)['decode.loss_ce']
        != plain
    )

    recorder = Recorder()
    cfg.model.update(type='AveragedEncoderDecoder', decay=0.5)
    assert 'pretrained' in cfg.model
    runner = Runner(
        cfg.model,
        str(tmp_path),
        train_dataloader=dict(
            batch_size=2,
            sampler=dict(type='InfiniteSampler'),
            dataset=Batches(),
        ),
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=3),
        optim_wrapper=cfg.optim_wrapper,
        custom_hooks=[dict(type='TeacherEMAHook'), recorder],
        log_level='ERROR',
        default_scope='mmseg',
        experiment_name='averaged',
    )
    runner.train()
    one, two, three = recorder.weights
    average = runner.model.teacher.decode_head.conv_seg.weight
    torch.testing.assert_close(average, one / 4 + two / 4 + three / 2)
    assert not torch.equal(one, three)


def test_the_tables_of_the_results_are_those_of_their_records(
    monkeypatch, capsys
):
    monkeypatch.chdir(REPO)
    page = (REPO / 'docs/results.md').read_text()
    cells = bench.pairs(results.read_csv(REPO / 'docs/results/bench.csv'))
    assert bench.render(cells) in page
    found = [
        words
        for words in map(shlex.split, blocks('docs/results.md', 'bash'))
        if len(words) > 2 and words[2].startswith('docs/results/')
    ]
    assert len(found) == 3
    for words in found:
        monkeypatch.setattr('sys.argv', words[1:])
        results.main()
        assert f'```\n\n{capsys.readouterr().out}\n' in page


def test_the_table_of_the_readme_is_that_of_the_records():
    records = [
        record
        for name in ('bench', 'camvid')
        for record in results.read_csv(REPO / f'docs/results/{name}.csv')
        if record['images'] == 'test'
    ]
    expected, scratch = set(), []
    for name, runs in bench.pairs(records).items():
        twin, psmt = (
            np.array([results.score(record) for record in records])
            for records in zip(*runs)
        )
        if '_segformer_' in name:  # from random weights
            scratch.append((psmt - twin).mean())
            continue
        numbers = [
            runs[0][0]['labeled'],
            results.spread(twin),
            results.spread(psmt),
            results.spread(psmt - twin, '+'),
        ]
        expected.add(f' {" | ".join(map(str, numbers))} |')
    page = (REPO / 'README.md').read_text()
    table = page.partition('| test images |')[2].partition('\n\n')[0]
    rows = {line.partition('| ')[2] for line in table.splitlines()[2:]}
    assert {row.partition(' |')[2] for row in rows} == expected
    assert f'{min(scratch):+.2f} to {max(scratch):+.2f}' in page
