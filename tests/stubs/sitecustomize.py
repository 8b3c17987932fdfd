"""Python runs this at its start where the folder is on PYTHONPATH."""

import op_stubs

op_stubs.install()
