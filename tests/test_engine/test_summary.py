"""What stands at the end of the log of a training."""

import argparse
import json
import re
import runpy
import shlex
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from mmengine import Config
from mmengine.config import DictAction
from mmseg.registry import HOOKS
from test_early_warnings import build

from mmseg_psmt.engine.hooks import SummaryHook, summary_hook

REPO = Path(__file__).resolve().parents[2]
DATA = dict(
    type='BaseSegDataset',
    data_root='mine',
    ann_file='',
    data_prefix=dict(img_path='images/val'),
)
METRICS = {'mIoU': 34.1, 'student/mIoU': 33.0, 'teacher2/mIoU': 30.25}


class Log:
    def __init__(self):
        self.lines, self.warnings = [], []

    def info(self, text):
        self.lines += text.splitlines()

    def warning(self, text):
        self.warnings.append(text)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """An empty folder with the tools, which is where one types."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'tools').mkdir()
    (tmp_path / 'tools/check_data.py').touch()
    monkeypatch.setattr(
        summary_hook,
        'write_report',
        lambda work_dir, twin: work_dir / f'{twin}.html',
    )
    return tmp_path


def log_validation(
    work_dir, step, miou, start='20260101_000000', data=DATA, **more
):
    """What mmengine writes of a validation, and the config of the start."""
    folder = Path(work_dir, start, 'vis_data')
    folder.mkdir(parents=True, exist_ok=True)
    folder.with_name(f'{start}.log').touch()
    with open(folder / 'scalars.json', 'a') as file:
        file.write(json.dumps(dict(lr=0.1, loss=1.5, step=step)) + '\n')
        file.write(json.dumps(dict(mIoU=miou, step=step, **more)) + '\n')
    Config(dict(val_dataloader=dict(dataset=data))).dump(folder / 'config.py')


def ended(
    metrics=METRICS,
    work_dir='work_dirs/semi',
    twin=None,
    info=None,
    hook=None,
    saved='iter_600.pth',
    filename='mine/semi.py',
    **cfg,
):
    """The log after a training of 600 iterations."""
    work_dir = Path(work_dir).absolute()
    work_dir.mkdir(parents=True, exist_ok=True)
    if saved:
        path = work_dir / saved
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        (work_dir / 'last_checkpoint').write_text(str(path))
    if filename:
        (work_dir / Path(filename).name).touch()
    runner = SimpleNamespace(
        work_dir=str(work_dir),
        logger=Log(),
        iter=600,
        max_iters=600,
        cfg=Config(
            dict(val_dataloader=dict(dataset=DATA), **cfg),
            cfg_text=' ',
            filename=filename,
        ),
        message_hub=SimpleNamespace(runtime_info=info or {}),
        model=SimpleNamespace(
            predict_with=['teachers', 'student', 'teacher2'],
            warmup_iters=150,
            unsup_weight=1.5,
        ),
    )
    hook = hook or HOOKS.build(dict(type='SummaryHook', twin=twin))
    hook.before_train(runner)
    if metrics:
        hook.after_val_epoch(runner, metrics)
    hook.after_train(runner)
    return runner.logger


def line(log, begin):
    """The rest of the only line that begins so."""
    (found,) = (text for text in log.lines if text.startswith(begin))
    return found[len(begin) :]


def test_ps_mt_beside_its_twin(project):
    log_validation('work_dirs/semi_supervised', 300, 90.0)
    log_validation('work_dirs/semi_supervised', 600, 32.4)
    log = ended()
    assert not log.warnings
    assert line(log, 'mIoU in the validation at iteration 600: ') == (
        'teachers 34.10, student 33.00, teacher2 30.25'
    )
    assert 'PS-MT 34.10, supervised 32.40: +1.70' in log.lines
    assert 'What to try' not in '\n'.join(log.lines)
    assert 'better net' not in '\n'.join(log.lines)
    assert line(log, 'test:   ') == (
        'python tools/test.py work_dirs/semi/semi.py '
        'work_dirs/semi/iter_600.pth'
    )
    assert line(log, 'export: ') == (
        'python tools/export.py work_dirs/semi/iter_600.pth '
        'work_dirs/semi/plain_iter_600.pth'
    )


@pytest.mark.parametrize(
    'twin, told', [(34.09, False), (34.1, True), (36.0, True)]
)
def test_what_to_try_where_supervised_is_not_worse(project, twin, told):
    folder = project / 'work_dirs/semi_supervised'
    log_validation(folder, 600, twin)
    (folder / 'iter_600.pth').touch()
    log = ended()
    remedies = [text for text in log.lines if re.match(r'  \d\. ', text)]
    assert len(remedies) == (3 if told else 0)
    if told:
        assert (
            'load_from=work_dirs/semi_supervised/iter_600.pth, or '
            'model.warmup_iters=300 (it was 150)'
        ) in remedies[0]
        assert 'model.unsup_weight=0.75 (it was 1.5)' in remedies[1]


@pytest.mark.parametrize('warmup', [0, 150, 599, 600])
def test_every_option_to_try_is_one(project, warmup):
    """Written as it is given with --cfg-options, and of a valid value."""
    runner = SimpleNamespace(
        max_iters=600,
        model=SimpleNamespace(warmup_iters=warmup, unsup_weight=1.0),
    )
    remedies = [*SummaryHook()._remedies(runner, Path('twin'))]
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    for remedy in remedies:
        words = re.findall(r'[\w.]+=[^\s,]+', remedy)
        assert words
        options = parser.parse_args(['--cfg-options', *words]).cfg_options
        options.pop('load_from', None)
        for name, value in options.items():
            option = name.removeprefix('model.')
            build(**{'warmup_iters': 1, option: value})
            if option == 'warmup_iters':
                assert max(warmup, 150) <= value <= 600


def test_runs_of_other_lengths_are_said_to_be(project):
    log_validation('work_dirs/semi_supervised', 900, 35.1)
    log = ended()
    (text,) = (text for text in log.lines if text.startswith('PS-MT'))
    assert text.startswith(
        'PS-MT 34.10, supervised 35.10: -1.00 after 600 '
        'and 900 iterations. Give both the same '
        'train_cfg.max_iters'
    )
    assert 'What to try' not in '\n'.join(log.lines)


def test_a_start_from_a_checkpoint_is_said(project):
    log_validation('work_dirs/semi_supervised', 900, 35.1)
    start = str(project / 'work_dirs/semi_supervised/iter_900.pth')
    log = ended(load_from=start)
    (text,) = (text for text in log.lines if text.startswith('PS-MT'))
    assert text.endswith(
        '-1.00 (PS-MT: 600 iterations from work_dirs/'
        'semi_supervised/iter_900.pth; supervised: 900)'
    )
    assert 'What to try' in '\n'.join(log.lines)


@pytest.mark.parametrize(
    'key, value, same',
    [
        ('data_root', 'other', False),
        ('ann_file', 'val.txt', False),
        ('data_prefix', dict(img_path='images/test'), False),
        ('type', 'mmseg.datasets.BaseSegDataset', True),
    ],
)
def test_other_validation_images_are_no_comparison(project, key, value, same):
    log_validation(
        'work_dirs/semi_supervised', 600, 32.4, data={**DATA, key: value}
    )
    words = '\n'.join(ended().lines)
    assert ('+1.70' in words) == same
    assert (f'val_dataloader.dataset.{key} differs' in words) == (not same)


@pytest.mark.parametrize('config', [False, True])
def test_without_a_twin_its_command_is_given(project, config):
    if config:
        (project / 'mine').mkdir()
        (project / 'mine/semi_supervised.py').touch()
    text = line(ended(), 'supervised training: no validation in ')
    assert text.startswith('work_dirs/semi_supervised, so what the photos')
    assert text.endswith(
        ': python tools/train.py mine/semi_supervised.py --work-dir '
        'work_dirs/semi_supervised'
        if config
        else 'is not known'
    )


def test_the_twin_may_be_elsewhere(project):
    log_validation('work_dirs/semi_supervised', 600, 10.0)
    log_validation('else/where', 600, 32.0)
    assert (
        'PS-MT 34.10, supervised 32.00: +2.10'
        in ended(twin='else/where').lines
    )
    with pytest.raises(ValueError, match="path of a work dir, got ''"):
        SummaryHook('')


def test_the_student_may_be_the_better_net(project):
    words = '\n'.join(ended({'mIoU': 34.1, 'student/mIoU': 34.2}).lines)
    assert '--cfg-options model.predict_with=student' in words
    assert '--which student' in words


def test_the_latest_start_counts(project):
    """And neither an earlier training in the folder nor a test."""
    folder = 'work_dirs/semi_supervised'
    log_validation(folder, 900, 80.0, start='20260101_000000')
    log_validation(folder, 600, 32.4, start='20260102_000000')
    log_validation(f'{folder}/test', 600, 70.0, start='20260103_000000')
    assert 'PS-MT 34.10, supervised 32.40: +1.70' in ended().lines


def test_a_finished_training_that_is_resumed_reads_its_log(project):
    log_validation('work_dirs/semi', 600, 34.5, **{'student/mIoU': 30.0})
    log_validation('work_dirs/semi_supervised', 600, 32.5)
    log = ended(metrics=None)
    assert line(log, 'mIoU in the validation at iteration 600: ') == (
        'teachers 34.50, student 30.00'
    )
    assert 'PS-MT 34.50, supervised 32.50: +2.00' in log.lines


@pytest.mark.parametrize('metrics', [None, dict(aAcc=90.0, mFscore=40.0)])
def test_without_a_validation_it_says_so(project, metrics):
    log_validation('work_dirs/semi_supervised', 600, 32.4)
    log = ended(metrics)
    words = line(log, 'mIoU: unknown')
    for option in 'val_dataloader', 'val_cfg', 'val_evaluator', 'iou_metrics':
        assert option in words
    assert 'supervised' not in '\n'.join(log.lines)
    assert line(log, 'test:   ')


def test_best_checkpoint_and_pictures(project):
    folder = project / 'work_dirs/semi/20260101_000000/vis_data/vis_image'
    folder.mkdir(parents=True)
    (folder / 'pseudo_labels_9.png').touch()
    log = ended(
        info=dict(
            best_score=35.25,
            loop_stage='val',
            best_ckpt=str(project / 'work_dirs/semi/best_mIoU_iter_400.pth'),
        )
    )
    assert line(log, 'best checkpoint: ') == (
        'work_dirs/semi/best_mIoU_iter_400.pth, 35.25'
    )
    assert line(log, 'pictures of the pseudo labels: ') == (
        'work_dirs/semi/20260101_000000/vis_data/vis_image/pseudo_labels_9.png'
    )


def test_tools_of_mmseg_are_not_meant(project):
    """Whose checkout, or own folder of tools, one may be in."""
    (project / 'tools/check_data.py').rename(project / 'tools/test.py')
    _, tool, *_ = shlex.split(line(ended(), 'test:   '))
    assert tool != 'tools/test.py'
    assert 'run_mmseg_tool' in Path(tool).read_text()


def test_paths_are_ready_to_copy(project):
    log = ended(work_dir='my runs/a (b)')
    for begin, tool in ('test:   ', 'test'), ('export: ', 'export'):
        text = line(log, begin)
        python, path, *words = shlex.split(text)
        assert (python, path) == ('python', f'tools/{tool}.py')
        assert 'my runs/a (b)/iter_600.pth' in words and "'my runs" in text


def test_checkpoints_elsewhere_are_tested_into_the_work_dir(project):
    log = ended(saved='../../scratch/semi/iter_600.pth', filename=None)
    assert line(log, 'test:   ').endswith(
        'scratch/semi/iter_600.pth --work-dir work_dirs/semi/test'
    )


def test_without_a_checkpoint_there_is_no_command(project):
    words = '\n'.join(ended(saved=None).lines)
    assert 'default_hooks.checkpoint.interval' in words
    assert 'python' not in words.partition('no checkpoint')[2]


def test_a_fault_is_one_warning(project):
    log_validation('work_dirs/semi_supervised', 600, 32.4)
    (file,) = project.glob('work_dirs/*/*/vis_data/scalars.json')
    file.write_text('{"mIoU": 3')
    log = ended()
    assert len(log.lines) == 1 and 'report' in log.lines[0]
    (warning,) = log.warnings
    assert warning.startswith('No summary of the training: ValueError')
    assert str(file) in warning


def test_a_report_that_fails_is_one_warning(project, monkeypatch):
    assert line(ended(), 'report: ') == 'work_dirs/semi/None.html'
    assert line(ended(twin='x/y'), 'report: ') == 'work_dirs/semi/x/y.html'
    monkeypatch.setattr(
        summary_hook, 'write_report', lambda work_dir, twin: 1 / 0
    )
    log = ended()
    assert line(log, 'test:   ')
    (warning,) = log.warnings
    assert 'report.html: ZeroDivisionError' in warning


def test_the_first_rank_alone_speaks(project, monkeypatch):
    monkeypatch.setattr(summary_hook, 'is_main_process', lambda: False)
    log = ended()
    assert not log.lines and not log.warnings


@pytest.mark.parametrize(
    'words, place',
    [
        ('a.py runs/x/iter_6.pth', 'runs/x/test'),
        ('a.py here.pth', 'test'),
        (
            '--launcher none a.py --tta runs/x/iter_6.pth --out masks',
            'runs/x/test',
        ),
        (
            'a.py runs/x/iter_6.pth --cfg-options a=b c=d --local-rank 1',
            'runs/x/test',
        ),
        ('--local_rank=1 a.py runs/x/iter_6.pth --unknown', 'runs/x/test'),
        ('a.py runs/x/iter_6.pth --work-dir else', None),
        ('a.py runs/x/iter_6.pth --work-dir=else', None),
        ('--work else a.py runs/x/iter_6.pth', None),
        ('a.py https://host/runs/x/iter_6.pth', None),
        ('a.py runs/gone.pth', None),
    ],
)
def test_results_go_beside_the_checkpoint(words, place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'runs/x').mkdir(parents=True)
    for name in ('runs/x/iter_6.pth', 'here.pth'):
        (tmp_path / name).touch()
    monkeypatch.setattr(sys, 'argv', ['test.py', *words.split()])
    tool = runpy.run_path(str(REPO / 'tools/test.py'))
    assert tool['results_near'](tool['parse_args']()) == (
        ['--work-dir', place] if place else []
    )
