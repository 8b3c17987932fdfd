from importlib.metadata import PackageNotFoundError

import pytest

from mmseg_psmt import stack

STOCK = {'mmengine': '0.10.7', 'mmcv': '2.1.0', 'mmsegmentation': '1.2.2'}
ONEDL = {f'onedl-{name}': '1' for name in STOCK}


def install(monkeypatch, packages):
    def version(name):
        if name not in packages:
            raise PackageNotFoundError(name)
        return packages[name]

    monkeypatch.setattr(stack, 'version', version)


@pytest.mark.parametrize('packages', [STOCK, ONEDL])
def test_one_family_is_fine(monkeypatch, packages):
    install(monkeypatch, packages)
    assert stack.installed_family() == packages


def test_two_families_are_refused(monkeypatch):
    install(monkeypatch, {**ONEDL, 'mmcv': '2.1.0'})
    with pytest.raises(ImportError, match='overwrite each other.*Uninstall'):
        stack.installed_family()


@pytest.mark.parametrize('packages', [{}, {'onedl-mmcv': '2.3.6'}])
def test_a_missing_package_is_named_with_a_remedy(monkeypatch, packages):
    install(monkeypatch, packages)
    with pytest.raises(ImportError, match='requirements.txt'):
        stack.installed_family()
