"""Import it to have configs dumped without the layout of yapf.

Which takes longer than a tiny training: mmengine asks for it at each start
and each checkpoint.
"""

import yapf.yapflib.yapf_api

yapf.yapflib.yapf_api.FormatCode = lambda text, **kwargs: (f'{text}\n', True)
