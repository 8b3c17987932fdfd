"""mmseg's own training tool, on CPU ranks too. See --help."""

from mmseg_psmt.launch import run_mmseg_tool

if __name__ == '__main__':
    run_mmseg_tool('train.py')
