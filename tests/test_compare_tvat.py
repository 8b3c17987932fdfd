"""tools/compare_tvat.py on a thin checkpoint."""
import re
import runpy
import subprocess
import sys

import pytest
import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmseg.registry import MODELS
from mmseg.utils import register_all_modules
from test_benchmark import SHAPES, THIN
from test_tools import REPO

import mmseg_psmt  # noqa: F401

register_all_modules()
TOOL = str(REPO / 'tools/compare_tvat.py')


@pytest.fixture
def table(tmp_path, monkeypatch, capsys):
    """Cosine and divergence of each direction."""
    subprocess.run([sys.executable, REPO / 'tools/make_shapes.py', '--out',
                    tmp_path / 'shapes', '--num-train', '48', '--num-val',
                    '2'], check=True)
    monkeypatch.setenv('PSMT_DATA', str(tmp_path))
    cfg = Config.fromfile(SHAPES)
    cfg.merge_from_dict({
        key: int(value) for key, value in (word.split('=') for word in THIN)})
    torch.manual_seed(0)
    model = revert_sync_batchnorm(MODELS.build(cfg.model))
    for teacher in model.teachers:
        teacher.load_state_dict(model.segmentor.state_dict())
        teacher.decode_head.conv_seg.weight.data.mul_(10)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'net.pth')
    monkeypatch.setattr(sys, 'argv', [
        TOOL, str(SHAPES), str(tmp_path / 'net.pth'), '--batches', '2',
        '--cfg-options', *THIN])
    runpy.run_path(TOOL, run_name='__main__')
    rows = re.findall(r'\| (.+) \| (\d.\d+) \| (\d.\d+) \|',
                      capsys.readouterr().out)
    return {name: (float(cosine), float(kl)) for name, cosine, kl in rows}


def test_equal_teachers_agree_and_beat_noise(table):
    assert len(table) == 9
    assert table['both, feature'][0] == 1
    for start in 'feature', 'logits':
        assert table[f'one, {start}'] == table[f'both, {start}']
        assert table['random'][1] < table[f'both, {start}'][1] / 2
    assert table['random'][0] < 0.2
    assert table['both, logits'][0] < 0.9
    assert table['both, logits, bfloat16'][1] == pytest.approx(
        table['both, logits'][1], rel=0.1)


def test_a_config_without_t_vat_is_refused(tmp_path, monkeypatch):
    config = tmp_path / 'none.py'
    config.write_text(f"_base_ = '{SHAPES}'\nmodel = dict(tvat=None)")
    monkeypatch.setattr(sys, 'argv', [TOOL, str(config), TOOL])
    with pytest.raises(SystemExit, match='none.py has model.tvat=None'):
        runpy.run_path(TOOL, run_name='__main__')


@pytest.mark.parametrize('words', [('no.py', TOOL), (TOOL, 'no.pth')])
def test_a_wrong_path_is_named(words, monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', [TOOL, *words])
    with pytest.raises(SystemExit):
        runpy.run_path(TOOL, run_name='__main__')
    wrong, = (word for word in words if word.startswith('no'))
    assert f'{wrong} does not exist' in capsys.readouterr().err
