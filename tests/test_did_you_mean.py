"""A typo is answered with the name that was meant."""

import inspect
import runpy
import sys

import pytest
from mmseg.registry import DATASETS, HOOKS, MODELS, TRANSFORMS
from test_psmt import build

from mmseg_psmt.launch import run_mmseg_tool
from mmseg_psmt.models.teachers import Teachers
from mmseg_psmt.options import MOVED, did_you_mean


@pytest.mark.parametrize(
    'make, meant',
    [
        (lambda: build(unsup_wieght=1.0), 'unsup_weight'),
        (lambda: build(tvat=dict(epps=1.0)), 'eps'),
        (lambda: build(consistency=dict(treshold=0.5)), 'threshold'),
        (
            lambda: HOOKS.build(dict(type='PseudoLabelVisHook', intervall=5)),
            'interval',
        ),
        (
            lambda: HOOKS.build(dict(type='EarlyWarningHok')),
            'EarlyWarningHook',
        ),
        # of a parent, and of mmseg
        (lambda: build(data_preprocessor=dict(sise=(33, 33))), 'size'),
        (
            lambda: TRANSFORMS.build(
                dict(type='RandomCrop', crop_sise=(3, 3))
            ),
            'crop_size',
        ),
        (
            lambda: DATASETS.build(dict(type='UnlabledFolder')),
            'UnlabeledFolder',
        ),
        (lambda: MODELS.build(dict(type='PSTM')), 'PSMT'),
    ],
)
def test_the_name_that_was_meant(make, meant):
    with pytest.raises(Exception) as error:
        make()
    assert did_you_mean(error.value) == f'Did you mean {meant!r}?'


@pytest.mark.parametrize(
    'old, new',
    [
        ('num_teachers', 'num'),
        ('teachers_init', 'init'),
        ('ema_decay', 'decay'),
        ('alternate_every', 'alternate_every'),
        ('teacher_norm', 'norm'),
        ('assist_topk', 'topk'),
    ],
)
def test_an_option_of_version_0_1_says_where_it_is_now(old, new):
    with pytest.raises(TypeError) as error:
        build(**{old: 1})
    assert did_you_mean(error.value) == (
        f'It is model.teachers.{new} since version 0.2'
    )
    assert MOVED[old] == f'teachers.{new}'
    assert new in inspect.signature(Teachers).parameters


@pytest.mark.parametrize(
    'error',
    [
        TypeError(
            "PSMT.__init__() got an unexpected keyword argument 'zzzzzz'"
        ),
        TypeError('something else'),
        KeyError('model'),
        ValueError(),
        FileNotFoundError(),
        FileNotFoundError(2, 'No such file or directory', '/nowhere/x.py'),
    ],
)
def test_nothing_is_invented(error):
    assert did_you_mean(error) == ''


@pytest.mark.parametrize(
    'error, kind',
    [
        (
            TypeError(
                'PSMT.__init__() got an unexpected keyword argument '
                "'unsup_wieght'"
            ),
            SystemExit,
        ),
        (TypeError('something else'), TypeError),
    ],
)
def test_tools_say_it(monkeypatch, error, kind):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(runpy, 'run_path', fail)
    monkeypatch.setattr(sys, 'argv', ['test.py'])
    with pytest.raises(kind) as told:
        run_mmseg_tool('test.py')
    assert kind is TypeError or "Did you mean 'unsup_weight'?" in str(
        told.value
    )


def test_a_module_that_a_config_lacks_is_named(monkeypatch, tmp_path):
    config = tmp_path / 'far.py'
    config.write_text("custom_imports = dict(imports=['nowhere.models'])")
    monkeypatch.setattr(sys, 'argv', ['train.py', str(config)])
    with pytest.raises(SystemExit) as told:
        run_mmseg_tool('train.py')
    assert "No module named 'nowhere'" in str(told.value)


@pytest.mark.parametrize('missing', ['config', 'base'])
def test_a_missing_config_is_named_beside_its_neighbor(
    monkeypatch, tmp_path, missing
):
    (tmp_path / 'my_psmt.py').write_text("_base_ = 'my_data.py'")
    (tmp_path / 'my_date.py').touch()
    config = str(tmp_path / 'my_psmt.py')
    absent, near = tmp_path / 'my_data.py', 'my_date.py'
    if missing == 'config':
        config = absent = str(tmp_path / 'my_pstm.py')
        near = 'my_psmt.py'
    monkeypatch.setattr(sys, 'argv', ['train.py', config])
    with pytest.raises(SystemExit) as told:
        run_mmseg_tool('train.py')
    assert str(absent) in str(told.value)
    assert repr(near) in str(told.value)
