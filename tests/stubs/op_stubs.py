"""Stand-ins for compiled operators that are not installed.

Stock mmseg imports mmcv's operators and mmpretrain imports torchvision, which
needs its own. With ``install`` both can be imported where the operators are
missing; calling one is an error. Real operators always go first.
"""

import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import PathFinder
from importlib.util import spec_from_loader
from pathlib import Path


class MMCVOps(MetaPathFinder, Loader):
    """Is found as ``mmcv._ext`` where there is no compiled one."""

    def find_spec(self, name, path=None, target=None):
        return spec_from_loader(name, self) if name == 'mmcv._ext' else None

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        module.__getattr__ = missing_op


def missing_op(name):
    """A function that says what is missing, or AttributeError for dunders."""
    if name.startswith('__'):
        raise AttributeError(name)

    def op(*args, **kwargs):
        raise NotImplementedError(
            f"mmcv's operator {name} was called, but this mmcv was installed "
            'without compiled operators: tests/stubs only lets it be imported'
        )

    return op


class TorchvisionOps(MetaPathFinder):
    """Declares, just before torchvision, the operators its import names.

    PyPI's torchvision cannot load its CUDA build beside a torch for the CPU.
    """

    SCHEMAS = (
        'nms(Tensor dets, Tensor scores, float iou_threshold)',
        'qnms(Tensor dets, Tensor scores, float iou_threshold)',
    )
    library = None

    def find_spec(self, name, path=None, target=None):
        if name == 'torchvision' and self.library is None:
            spec = PathFinder.find_spec(name, path)
            if spec and not loads(Path(spec.origin).with_name('_C.so')):
                self.declare()
        return None  # the usual finders find it

    def declare(self):
        import torch

        self.library = torch.library.Library('torchvision', 'FRAGMENT')
        for schema in self.SCHEMAS:
            self.library.define(f'{schema} -> Tensor')


def loads(extension):
    """Whether torch for the GPU is there, or the extension loads anyway."""
    import torch

    if torch.version.cuda or torch.version.hip:
        return True
    try:
        torch.ops.load_library(extension)
    except OSError:
        return False
    return True


def install():
    """Once per process."""
    if not any(isinstance(finder, MMCVOps) for finder in sys.meta_path):
        sys.meta_path.insert(0, TorchvisionOps())
        sys.meta_path.append(MMCVOps())
