"""Where T-VAT enters a decode head: the only file that knows mmseg's heads."""
from contextlib import contextmanager
from typing import Callable, Iterator, Optional, Tuple

import torch.nn as nn
from torch import Tensor

# The submodule that takes the last shared feature of the head. For each,
# ``head(x) == head.cls_seg(site(f))`` where ``f`` is what enters the site.
SITES = {
    'DepthwiseSeparableASPPHead': 'sep_bottleneck',
    'ASPPHead': 'bottleneck',
    'PSPHead': 'bottleneck',
    'UPerHead': 'fpn_bottleneck',
    'SegformerHead': 'fusion_conv',
    'FCNHead': 'convs',
    'LightHamHead': 'align',
    'ISAHead': 'out_conv',
    'LRASPPHead': 'conv_ups.conv_up0',
}


def find_site(head: nn.Module, perturb_at: Optional[str] = None) -> str:
    """Name of the submodule in front of which a head is perturbed.

    Args:
        head (nn.Module): A decode head of mmseg.
        perturb_at (str, optional): Name of a submodule of ``head``; overrides
            the known one. ``'conv_seg'`` works on every head that ends in
            ``cls_seg``.

    Returns:
        str: Dotted name.

    Raises:
        ValueError: If the head is unknown and ``perturb_at`` is not given, or
            names no submodule.
    """
    kind = type(head).__name__
    if perturb_at is None and kind == 'FCNHead' and head.concat_input:
        perturb_at = 'conv_cat'
    site = perturb_at or SITES.get(kind)
    if site is None:
        raise ValueError(
            f'T-VAT knows no site in {kind}. Name the submodule that takes '
            "its last feature with model.perturb_at (perturb_at='conv_seg' "
            'works on every head that ends in cls_seg), or switch T-VAT off '
            f'with model.tvat=None. Known heads: {", ".join(SITES)}')
    if site not in dict(head.named_modules()):
        children = [name for name, _ in head.named_children()]
        raise ValueError(f'perturb_at={site!r} is no submodule of {kind}; its '
                         f'children are {children}')
    return site


class HeadTap:
    """Perturbs the feature that enters one submodule of a head, the *site*.

    The hook is registered once and switched by an attribute.

    Args:
        head (nn.Module): The student's decode head.
        perturb_at (str, optional): See :func:`find_site`.
    """

    def __init__(self, head: nn.Module, perturb_at: Optional[str] = None):
        self.site = find_site(head, perturb_at)
        self._perturb: Optional[Callable[[Tensor], Tensor]] = None
        head.get_submodule(self.site).register_forward_pre_hook(self._hook)

    def _hook(self, module: nn.Module,
              args: Tuple[Tensor]) -> Optional[Tuple[Tensor]]:
        if self._perturb is None:
            return None
        feat, = args
        return (feat + self._perturb(feat).to(feat.dtype), )

    @contextmanager
    def perturbed(
            self, perturb: Optional[Callable[[Tensor],
                                             Tensor]]) -> Iterator[None]:
        """Within this context ``f`` becomes ``f + perturb(f)`` at the site.

        Args:
            perturb (Callable, optional): Maps a feature (N, C, H, W) to a
                perturbation of the same shape. None leaves ``f`` alone.
        """
        self._perturb = perturb
        try:
            yield
        finally:
            self._perturb = None

    def decode(self, head: nn.Module, feat: Tensor) -> Tensor:
        """Logits (N, K, h, w) of ``head`` from the feature at the site.

        Args:
            head (nn.Module): A head built like the tapped one.
            feat (Tensor): What enters the site, shape (N, C, H, W).
        """
        feat = head.get_submodule(self.site)(feat)
        return feat if self.site == 'conv_seg' else head.cls_seg(feat)
