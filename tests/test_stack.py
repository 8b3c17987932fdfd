import os
import re
import sys
import warnings
import zipfile
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import cv2
import mmcv
import numpy as np
import op_stubs
import pytest
import torch
from mmengine.logging import HistoryBuffer
from packaging.requirements import Requirement

from mmseg_psmt import launch, stack

REPO = Path(__file__).resolve().parents[1]
STOCK = {'mmengine': '0.10.7', 'mmcv': '2.1.0', 'mmsegmentation': '1.2.2'}
ONEDL = {
    'onedl-mmengine': '0.10.12',
    'onedl-mmcv': '2.3.6',
    'onedl-mmsegmentation': '1.4.2',
}


def install(monkeypatch, packages):
    def version(name):
        if name not in packages:
            raise PackageNotFoundError(name)
        return packages[name]

    monkeypatch.setattr(stack, 'version', version)


@pytest.mark.parametrize(
    'packages',
    [
        STOCK,
        ONEDL,
        {**STOCK, 'mmpretrain': '1.2.0'},
        {**ONEDL, 'onedl-mmpretrain': '1.3.6'},
    ],
)
def test_one_tested_family_is_fine_without_a_word(monkeypatch, packages):
    install(monkeypatch, packages)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert stack.installed_family() == packages


@pytest.mark.parametrize(
    'packages',
    [{**ONEDL, 'mmcv': '2.1.0'}, {**STOCK, 'onedl-mmpretrain': '1.3.6'}],
)
def test_two_families_are_refused(monkeypatch, packages):
    install(monkeypatch, packages)
    with pytest.raises(ImportError, match='overwrite each other.*Uninstall'):
        stack.installed_family()


@pytest.mark.parametrize(
    'packages',
    [
        {},
        {'onedl-mmcv': '2.3.6'},
        {'mmengine': '0.10.7', 'mmcv': '2.1.0', 'mmpretrain': '1.2.0'},
    ],
)
def test_a_missing_package_is_named_with_a_remedy(monkeypatch, packages):
    install(monkeypatch, packages)
    with pytest.raises(ImportError, match='requirements.txt') as error:
        stack.installed_family()
    assert str(packages) in str(error.value)


@pytest.mark.parametrize(
    'family, name', [(STOCK, 'mmcv'), (ONEDL, 'onedl-mmengine')]
)
def test_other_versions_are_only_warned_of(monkeypatch, family, name):
    found = {**family, name: '2.0.1'}
    install(monkeypatch, found)
    with pytest.warns(UserWarning, match='tested') as warned:
        assert stack.installed_family() == found
    assert str(found) in str(warned[0].message)
    assert str(family) in str(warned[0].message)


def test_stock_mmcv_without_operators_is_refused(monkeypatch):
    monkeypatch.setattr(stack, 'find_spec', lambda name: None)
    install(monkeypatch, STOCK)
    with pytest.raises(ImportError, match='--no-build-isolation'):
        stack.installed_family()
    install(monkeypatch, ONEDL)
    assert stack.installed_family() == ONEDL


def test_an_import_says_what_is_not_known_to_be_noise(capsys):
    with pytest.raises(ImportError, match='broken'):
        with warnings.catch_warnings(record=True) as warned:
            with stack.quietly():
                print('Could not import OneDL')
                print('a fault')
                warnings.warn('The draw is False, it means')
                warnings.warn('Not a draw')
                raise ImportError('broken')
    assert capsys.readouterr().out == 'a fault\n'
    assert [str(one.message) for one in warned] == ['Not a draw']


@pytest.mark.parametrize('core', [b'core', b'_core'])
def test_a_checkpoint_may_be_of_another_numpy(tmp_path, core):
    stack.allow_checkpoint_globals()  # mmengine takes back what it allows
    history = HistoryBuffer([1.5, 2.5], [1, 1])
    history.last = np.float64(2.5)
    torch.save(dict(history=history), tmp_path / 'one.pth')
    with (
        zipfile.ZipFile(tmp_path / 'one.pth') as one,
        zipfile.ZipFile(tmp_path / 'other.pth', 'w') as other,
    ):
        for name in one.namelist():
            text = one.read(name)
            if name.endswith('data.pkl'):
                text, num = re.subn(
                    rb'cnumpy\._?core\.', b'cnumpy.' + core + b'.', text
                )
                assert num > 1
            other.writestr(name, text)
    found = torch.load(tmp_path / 'other.pth', weights_only=True)['history']
    assert found.data[0].tolist() == [1.5, 2.5] and found.last == 2.5


def test_a_torch_that_cannot_refuse_code_is_warned_of(monkeypatch):
    monkeypatch.delattr(torch.serialization, 'add_safe_globals')
    stack.allow_checkpoint_globals()
    with pytest.warns(UserWarning, match='2.4'):
        launch.forbid_code_in_checkpoints()
    assert not os.environ['TORCH_FORCE_WEIGHTS_ONLY_LOAD']


class Old(torch.nn.Module):
    """A module of torch 2.1, which has the hook under its private name."""

    @property
    def register_load_state_dict_pre_hook(self):
        raise AttributeError


@pytest.mark.parametrize('kind', [torch.nn.Module, Old])
def test_a_hook_before_loading_on_each_torch(kind):
    module, seen = kind(), []
    module.weight = torch.nn.Parameter(torch.zeros(1))
    handle = stack.before_loading(
        module, lambda who, state, prefix, *args: seen.append((who, prefix))
    )
    module.load_state_dict(dict(weight=torch.ones(1)))
    handle.remove()
    module.load_state_dict(dict(weight=torch.ones(1)))
    assert seen == [(module, '')]


def pins(file):
    """Versions by distribution."""
    pinned = [
        Requirement(line)
        for line in (REPO / file).read_text().splitlines()
        if '==' in line
    ]
    return {
        one.name: str(one.specifier)[2:]
        for one in pinned
        if not one.marker or one.marker.evaluate()
    }


def test_the_tested_versions_are_those_of_the_requirements():
    onedl, stock = pins('requirements.txt'), pins('requirements-stock.txt')
    both = onedl.keys() & stock.keys()
    assert both == {'torch', 'numpy', 'opencv-python', 'tensorboard'}
    assert all(onedl[name] == stock[name] for name in both)
    assert {**onedl, **stock}.items() >= stack.TESTED.items()
    assert {name for name in {**onedl, **stock} if 'mm' in name} == set(
        stack.TESTED
    )


def test_the_extras_allow_the_tested_versions():
    extras = map(Requirement, requires('mmseg_psmt'))
    ranges = {req.name: req.specifier for req in extras}
    assert all(tested in ranges[name] for name, tested in stack.TESTED.items())


def test_the_tests_run_on_one_whole_family():
    assert len(stack.installed_family()) == 4


@pytest.mark.parametrize('turn', [-0.5, -0.2, 0.0, 0.2, 0.5])
def test_hue_turns_by_its_share_of_the_circle(turn):
    image = np.random.default_rng(0).integers(
        256, size=(16, 16, 3), dtype=np.uint8
    )
    image[..., 0] //= 4  # no gray
    turned = stack.adjust_hue(image, turn)
    before, after = (
        cv2.cvtColor(part.astype(np.float32) / 255, cv2.COLOR_BGR2HSV)
        for part in (image, turned)
    )
    vivid = before[..., 1] > 0.5
    moved = (after - before)[vivid, 0] / 360 - turn
    assert abs((moved + 0.5) % 1 - 0.5).max() < 0.02
    if turn >= 0:
        np.testing.assert_array_equal(turned, mmcv.adjust_hue(image, turn))


def test_a_stubbed_operator_refuses_to_run():
    with pytest.raises(NotImplementedError, match='nms was called'):
        op_stubs.missing_op('nms')()
    finder = sys.meta_path[-1]
    assert isinstance(finder, op_stubs.MMCVOps)  # real operators go first
    op_stubs.install()
    assert sys.meta_path[-1] is finder


def test_operators_of_torchvision_are_left_alone_where_they_load(
    monkeypatch, tmp_path
):
    monkeypatch.setattr(torch.version, 'cuda', None)
    monkeypatch.setattr(torch.version, 'hip', None)
    assert not op_stubs.loads(tmp_path / '_C.so')
    assert op_stubs.loads(torch._C.__file__)
    monkeypatch.setattr(torch.version, 'cuda', '13.0')
    assert op_stubs.loads(tmp_path / '_C.so')
