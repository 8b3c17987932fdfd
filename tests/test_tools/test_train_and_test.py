"""The command line, as a user types it, on a few drawn images."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import processes
import pytest
import torch
from fake_data import fake_shapes
from mmengine import Config
from mmseg.apis import inference_model, init_model
from mmseg.registry import MODELS

REPO = Path(__file__).resolve().parents[2]
TINY = f"""
_base_ = '{REPO}/configs/psmt/deeplabv3plus_r18_shapes_1-8.py'
custom_imports = dict(imports=['mmseg_psmt', 'rank_dump', 'unformatted'])
custom_hooks = [*_base_.custom_hooks, dict(type='RankDumpHook')]
model = dict(
    segmentor=dict(
        backbone=dict(base_channels=8),
        decode_head=dict(
            in_channels=64, c1_in_channels=8, channels=8, c1_channels=4)),
    consistency=dict(type='ConfCELoss', threshold=0.2),
    teachers=dict(init='independent'),
    warmup_iters=2,
    ramp_iters=4)
train_dataloader = dict(
    batch_size=2, num_workers=0, persistent_workers=False)
val_dataloader = dict(num_workers=0, persistent_workers=False)
test_dataloader = dict(num_workers=0, persistent_workers=False)
train_cfg = dict(max_iters=6, val_interval=3)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=3))
"""


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp('root')
    fake_shapes(root / 'shapes', 48, 6)
    (root / 'tiny.py').write_text(TINY)
    return root


@pytest.fixture(scope='module')
def trained(root):
    """Work dir of a finished training, as a new interpreter did it."""
    words = [sys.executable, REPO / 'tools/train.py', 'tiny.py']
    said = shell([*words, '--work-dir', root / 'run'], root)
    (root / 'said.txt').write_text(said)
    return root / 'run'


def run(words, root, start=processes.run, **options):
    """Output of a command that must succeed."""
    done = start(
        list(map(str, words)),
        cwd=root,
        env={
            **os.environ,
            'PSMT_DATA': str(root),
            'OMP_NUM_THREADS': '1',
            'PORT': processes.free_port(),
            'PATH': f'{Path(sys.executable).parent}:{os.environ["PATH"]}',
            'PYTHONPATH': ':'.join(
                [f'{REPO}/tests', os.environ.get('PYTHONPATH', '')]
            ),
        },
        **options,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout


def shell(words, root):
    """Likewise, of any command, in a new interpreter."""
    return run(
        words,
        root,
        subprocess.run,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )


def evaluate(root, trained, *options):
    """Metrics that tools/test.py writes for the last checkpoint."""
    out = root / f'tested{len(list(root.iterdir()))}'
    run(
        [
            REPO / 'tools/test.py',
            'tiny.py',
            trained / 'iter_6.pth',
            '--work-dir',
            out,
            *options,
        ],
        root,
    )
    return json.loads(next(out.glob('*/*.json')).read_text())


def scalars(work_dir):
    """Log entries of training and of validation."""
    lines = [
        json.loads(line)
        for file in sorted(work_dir.glob('*/vis_data/scalars.json'))
        for line in file.read_text().splitlines()
    ]
    return (
        [line for line in lines if 'loss' in line],
        [line for line in lines if 'mIoU' in line],
    )


def test_training_logs_and_saves(trained):
    steps, validations = scalars(trained)
    assert [entry['step'] for entry in steps] == [1, 2, 3, 4, 5, 6]
    assert [entry['step'] for entry in validations] == [3, 6]
    assert 'unsup.loss' not in steps[1]
    assert {
        'sup.decode.loss_ce',
        'sup.decode.acc_seg',
        'unsup.loss',
        'unsup.weight',
        'unsup.active',
        'unsup.confident',
        'unsup.correct',
    } <= set(steps[5])
    assert {'mIoU', 'student/mIoU'} <= set(validations[1])
    assert (trained / 'iter_6.pth').exists()
    assert list(trained.glob('best_mIoU_iter_*.pth'))
    assert list(trained.glob('*/vis_data/vis_image/pseudo_labels_6.png'))


@pytest.mark.parametrize(
    'words',
    [
        'OneDL',
        'MultiScaleDeformableAttention',
        'The draw is False',
        'FileClient',
        'The prefix is not set',
    ],
)
def test_what_every_start_would_say_is_left_out(root, trained, words):
    said = (root / 'said.txt').read_text()
    assert 'Saving checkpoint' in said
    assert words not in said
    assert words not in next(trained.glob('2*/2*.log')).read_text()


def test_the_commit_is_noted(trained):
    cfg = Config.fromfile(
        next(trained.glob('*/vis_data/config.py')), import_custom_modules=False
    )
    head = subprocess.run(
        ['git', 'rev-parse', 'HEAD'], cwd=REPO, capture_output=True, text=True
    ).stdout
    if not head:
        pytest.skip('not a git checkout')
    assert head.startswith(cfg.commit[1:].removesuffix('-dirty'))


def test_the_test_tool_repeats_the_last_validation(root, trained):
    last = scalars(trained)[1][-1]
    both = evaluate(root, trained)
    assert both['mIoU'] == last['mIoU']
    assert both['student/mIoU'] == last['student/mIoU']
    option = 'model.predict_with='
    nets = evaluate(
        root,
        trained,
        '--cfg-options',
        f'{option}[teachers,student,teacher1,teacher2]',
    )
    assert nets['mIoU'] == last['mIoU']
    for net in 'student', 'teacher2':
        alone = evaluate(root, trained, '--cfg-options', f'{option}{net}')
        assert nets[f'{net}/mIoU'] == alone['mIoU']
    assert 'teacher1/mIoU' in nets and 'teachers/mIoU' not in nets
    turned = evaluate(
        root, trained, '--cfg-options', f'{option}[student,teachers]'
    )
    assert turned['mIoU'] == nets['student/mIoU']
    assert turned['teachers/mIoU'] == nets['mIoU']
    assert 'student/mIoU' not in turned


def test_the_end_of_the_log_says_how_to_test(root, trained):
    """The command as it stands there, and results.py finds what it writes."""
    log = next(trained.glob('*/*.log')).read_text()
    ending = log.partition('The training has ended.')[2]
    last = scalars(trained)[1][-1]
    assert (
        f'at iteration 6: teachers {last["mIoU"]:.2f}, student '
        f'{last["student/mIoU"]:.2f}'
    ) in ending
    assert 'supervised training: no validation in run_supervised' in ending
    assert re.search(r'run/best_mIoU_iter_\d\.pth, ', ending)
    assert 'vis_image/pseudo_labels_6.png' in ending
    command = re.search(r'^test: +(.*)$', ending, re.M)[1]
    assert command.endswith(' run/tiny.py run/iter_6.pth')
    assert f'{REPO}/tools/test.py ' in command
    shell(shlex.split(command), root)
    table = run([REPO / 'tools/analysis_tools/results.py', 'run'], root)
    assert f'| {last["mIoU"]:.2f} |' in table


def test_predictions_and_pictures_come_out(root, trained):
    evaluate(
        root,
        trained,
        '--out',
        root / 'masks',
        '--show-dir',
        'painted',
        '--cfg-options',
        'default_hooks.visualization.interval=1',
    )
    assert len(list((root / 'masks').glob('val_*.png'))) == 6
    assert list(root.glob('**/painted/**/*.png'))


def test_the_inference_api_of_mmseg_takes_the_checkpoint(root, trained):
    model = init_model(
        str(root / 'tiny.py'), str(trained / 'iter_6.pth'), device='cpu'
    )
    assert model.dataset_meta['classes'][1] == 'disc'
    image = str(root / 'shapes/JPEGImages/val_00000.jpg')
    assert inference_model(model, image).pred_sem_seg.shape == (64, 64)


def test_time_augmentation(root, trained):
    assert 0 <= evaluate(root, trained, '--tta')['mIoU'] <= 100


@pytest.fixture(scope='module')
def pretrained(root):
    """Weights of a backbone, and the file that they are in."""
    cfg = Config.fromfile(root / 'tiny.py', import_custom_modules=False)
    weights = MODELS.build(cfg.model.segmentor.backbone).state_dict()
    for value in weights.values():
        if value.is_floating_point():
            value.uniform_(0.1, 0.2)
    torch.save(weights, root / 'backbone.pth')
    return weights, root / 'backbone.pth'


@pytest.fixture(scope='module')
def ranks(root, pretrained):
    """What two processes begin and end with."""
    init = 'model.segmentor.backbone.init_cfg'
    shell(
        [
            REPO / 'tools/dist_train.sh',
            'tiny.py',
            2,
            '--work-dir',
            root / 'ranks',
            '--cfg-options',
            f'{init}.type=Pretrained',
            f'{init}.checkpoint={pretrained[1]}',
        ],
        root,
    )
    return [torch.load(root / f'ranks/rank{rank}.pth') for rank in range(2)]


@pytest.mark.parametrize('rank', range(2))
@pytest.mark.parametrize('net', ['segmentor', 'teachers.0', 'teachers.1'])
def test_each_net_of_each_rank_begins_pretrained(ranks, pretrained, rank, net):
    start = ranks[rank]['start']
    for name, value in pretrained[0].items():
        assert torch.equal(start[f'{net}.backbone.{name}'], value), name


def test_ranks_end_with_the_same_student_and_teachers(root, ranks):
    first, second = (rank['model'] for rank in ranks)
    assert any(name.startswith('teachers.1') for name in first)
    for name in first:
        assert torch.equal(first[name], second[name]), name
    assert scalars(root / 'ranks')[1][-1]['step'] == 6
    assert (root / 'ranks/iter_6.pth').exists()


def test_ranks_see_disjoint_images_within_a_pass(ranks):
    first, second = (
        [path for _, weak in rank['images'] for path in weak] for rank in ranks
    )
    assert len(first) == len(second) == 12  # of 42
    assert len({*first, *second}) == 24
    assert (pairs(ranks[0]) & pairs(ranks[1])) == set()


def pairs(rank):
    return {
        pair for labeled, weak in rank['images'] for pair in zip(labeled, weak)
    }


def test_optimizer_state_of_the_teachers_is_freed_on_each_rank(ranks):
    assert all(rank['optimizer'] == rank['student'] for rank in ranks)


@pytest.mark.parametrize('rank', range(2))
def test_no_thread_of_a_rank_can_abort_its_exit(root, ranks, rank):
    threads = (root / f'ranks/rank{rank}_threads').read_text().split()
    assert threads
    assert not [name for name in threads if 'gloo' in name]


def test_a_checkpoint_of_two_ranks_exports(root, ranks):
    out = run(
        [
            REPO / 'tools/export.py',
            root / 'ranks/iter_6.pth',
            root / 'exported.pth',
        ],
        root,
    )
    last = scalars(root / 'ranks')[1][-1]['mIoU']
    assert f'two passes {last:.2f}, the exported average' in out


def test_two_ranks_test_like_one_and_the_first_writes_it(root, trained):
    shell(
        [
            REPO / 'tools/dist_test.sh',
            'tiny.py',
            trained / 'iter_6.pth',
            2,
            '--work-dir',
            root / 'dist',
        ],
        root,
    )
    written = [path.name for path in (root / 'dist').glob('rank*_results')]
    assert written == ['rank0_results']
    result = json.loads(next((root / 'dist').glob('*/*.json')).read_text())
    assert result['mIoU'] == scalars(trained)[1][-1]['mIoU']


def test_the_config_of_the_readme_trains(root):
    block = (REPO / 'README.md').read_text().split('```python')[1]
    block = block.split('```')[0]
    assert len(block.strip().splitlines()) == 10
    (root / 'mine.py').write_text(block)
    os.environ['PSMT_DATA'] = str(root)
    cfg = Config.fromfile(root / 'tiny.py', import_custom_modules=False)
    del os.environ['PSMT_DATA']
    labeled = cfg.train_dataloader.dataset.labeled
    labeled.pipeline[-1] = dict(type='PackSegInputs')
    cfg.train_dataloader.dataset = labeled
    cfg.train_dataloader.sampler = dict(type='InfiniteSampler')
    cfg.model.segmentor.data_preprocessor.size = (64, 64)
    cfg.model = cfg.model.segmentor
    for name in ('psmt', 'custom_hooks', 'custom_imports'):
        cfg.pop(name)
    cfg.dump(root / 'my_config.py')
    (root / 'photos').mkdir()
    for image in (root / 'shapes/JPEGImages').glob('train_0000*.jpg'):
        shutil.copy(image, root / 'photos')
    run(
        [
            REPO / 'tools/train.py',
            'mine.py',
            '--cfg-options',
            'train_cfg.max_iters=2',
            'default_hooks.logger.interval=1',
        ],
        root,
    )
    steps = scalars(root / 'work_dirs/mine')[0]
    assert steps[1]['step'] == 2
    assert 'unsup.loss' in steps[1] and 'unsup.correct' not in steps[1]
    run(
        [REPO / 'tools/export.py', 'work_dirs/mine/iter_2.pth', 'plain.pth'],
        root,
    )
    assert 'psmt' not in (root / 'plain.py').read_text()


@pytest.mark.parametrize('name', ['dist_train', 'dist_test', 'slurm_train'])
def test_launchers_say_how_they_are_used(name):
    done = subprocess.run(
        [REPO / f'tools/{name}.sh'], stderr=subprocess.PIPE, text=True
    )
    assert done.returncode == 2
    assert 'Usage' in done.stderr
