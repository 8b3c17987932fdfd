"""mmseg's own test tool, on CPU ranks too. See --help."""

from mmseg_psmt.launch import run_mmseg_tool

if __name__ == '__main__':
    run_mmseg_tool('test.py')
