"""Where T-VAT enters a decode head."""

import copy
from contextlib import contextmanager
from typing import Any, Callable, Iterator, List, Optional, Tuple, Union

import torch
import torch.nn as nn
from torch import Tensor

from .heads import INPUTS, find_site, head_with_inputs, prediction_of

Perturb = Callable[[Tensor], Tensor]
Inputs = Union[Tensor, List['Inputs'], Tuple['Inputs', ...]]


def _tensors(inputs: Inputs) -> Iterator[Tensor]:
    """The tensors of what enters a head, some in pairs.

    Raises:
        TypeError: If there is anything else.
    """
    if torch.is_tensor(inputs):
        yield inputs
    elif isinstance(inputs, (list, tuple)):
        for part in inputs:
            yield from _tensors(part)
    else:
        raise TypeError(
            'T-VAT cannot perturb the inputs of a head that are not '
            'tensors alone: name a submodule with model.perturb_at, '
            "such as 'conv_seg', or set model.tvat=None"
        )


def _filled(inputs: Inputs, parts: Iterator[Tensor]) -> Inputs:
    """Inputs of the same form with other tensors."""
    if torch.is_tensor(inputs):
        return next(parts).reshape(-1, *inputs.shape[1:])
    return type(inputs)([_filled(part, parts) for part in inputs])


class HeadTap:
    """Perturbs the feature that enters one submodule of a head, the *site*.

    The site 'inputs' is all that enters the head, as one feature (N, D), and
    decoding it runs the whole head again. Whatever the site, the hook is
    there once and switched by an attribute.

    Args:
        head (nn.Module): The student's decode head.
        perturb_at (str, optional): See :func:`find_site`.
    """

    def __init__(self, head: nn.Module, perturb_at: Optional[str] = None):
        self.site = find_site(head, perturb_at)
        self.verified = perturb_at in (None, INPUTS)
        self._perturb: Optional[Perturb] = None
        self._form: Inputs = []
        if self.site == INPUTS:
            # Heads call their forward by name, which no hook would notice.
            self._forward = head.forward
            head.forward = self._run
        else:
            head.get_submodule(self.site).register_forward_pre_hook(self._hook)

    def _hook(
        self, module: nn.Module, args: Tuple[Tensor]
    ) -> Optional[Tuple[Tensor]]:
        if self._perturb is None:
            return None
        (feat,) = args
        return (feat + self._perturb(feat).to(feat.dtype),)

    def _run(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        if self._perturb is not None:
            parts = [*_tensors(inputs)]
            self._form = _filled(
                inputs,
                (  # shapes, but no values
                    x.new_empty(1, device='meta').expand(x.shape)
                    for x in parts
                ),
            )
            feat = torch.cat([x.flatten(1) for x in parts], dim=1)
            inputs = self._unpack(feat + self._perturb(feat).to(feat.dtype))
        return self._forward(inputs, *args, **kwargs)

    def _unpack(self, feat: Tensor) -> Inputs:
        sizes = [x.shape[1:].numel() for x in _tensors(self._form)]
        return _filled(self._form, iter(feat.split(sizes, dim=1)))

    @contextmanager
    def perturbed(self, perturb: Optional[Perturb]) -> Iterator[None]:
        """Within this context ``f`` becomes ``f + perturb(f)`` at the site.

        Args:
            perturb (Callable, optional): Maps a feature (N, ...) to a
                perturbation of the same shape. None leaves ``f`` alone.
        """
        self._perturb = perturb
        try:
            yield
        finally:
            self._perturb = None

    @torch.no_grad()
    def verify(self, segmentor: nn.Module, images: Tensor) -> None:
        """Check a site that the user chose, once.

        Decoding what enters the site must be what the head predicts.

        Args:
            segmentor (nn.Module): A teacher, in eval mode.
            images (Tensor): (N, 3, H, W).

        Raises:
            ValueError: If it is not.
        """
        if self.verified:
            return
        self.verified = True
        with torch.autocast(images.device.type, enabled=False):
            head, inputs = head_with_inputs(segmentor, images)
            same = self._suits(head, inputs)
        if not same:
            raise ValueError(
                f'perturb_at={self.site!r} does not suit '
                f'{type(head).__name__}: the submodule must take the one '
                'feature that all of the prediction is made from, and be '
                "followed by cls_seg alone. 'conv_seg' suits every head that "
                "ends in cls_seg, and 'inputs' runs the whole head again"
            )

    def _suits(self, head: nn.Module, inputs: list) -> bool:
        seen: List[Tensor] = []
        handle = head.get_submodule(self.site).register_forward_pre_hook(
            lambda module, args: seen.append(copy.deepcopy(args[0]))
        )
        try:
            expected = prediction_of(head, head.forward(*inputs))
        finally:
            handle.remove()
        try:
            (feat,) = seen
            decoded = self.decode(head, feat)
            return torch.allclose(
                decoded, expected, rtol=1e-3, atol=1e-3 * expected.abs().max()
            )
        except Exception:  # whatever the wrong submodule makes of it
            return False

    def decode(self, head: nn.Module, feat: Tensor) -> Tensor:
        """Logits (N, K, h, w) of ``head`` from the feature at the site.

        Args:
            head (nn.Module): A head built like the tapped one.
            feat (Tensor): What enters the site, (N, C, h, w) or (N, D). It
                is not modified.
        """
        if self.site == INPUTS:
            return prediction_of(head, head(self._unpack(feat)))
        site = head.get_submodule(self.site)
        # An activation would write into it; a ConvModule only if it begins
        # with one.
        if (
            getattr(site, 'inplace', False)
            and getattr(site, 'order', ('act',))[0] == 'act'
        ):
            feat = feat.clone()
        feat = site(feat)
        return feat if self.site == 'conv_seg' else head.cls_seg(feat)
