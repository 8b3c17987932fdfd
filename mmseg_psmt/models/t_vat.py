"""T-VAT: the feature perturbation that the teachers find hardest."""

from contextlib import nullcontext
from typing import Callable, Optional

import torch
import torch.nn as nn
import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor

from ..options import require_positive, require_whole


def _check(xi: float, eps: float, num_iters: int) -> None:
    require_positive('xi', xi)
    require_positive('eps', eps)
    require_whole('num_iters', num_iters, 1)


def _scaled(d: Tensor, length: float, fallback: Tensor) -> Tensor:
    """Scale each sample of ``d`` to an L2 norm, whatever its magnitude.

    A sample that is all zero or not finite takes that of ``fallback``.
    """
    rows = (-1, *[1] * (d.dim() - 1))
    norm, other = (  # float64 holds the squares of all float32
        torch.linalg.vector_norm(x.flatten(1), dim=1, dtype=torch.float64)
        for x in (d, fallback)
    )
    usable = torch.isfinite(norm) & (norm > 0)
    root = (length / torch.where(usable, norm, other)).sqrt().to(d.dtype)
    scaled = torch.where(usable.view(rows), d, fallback)
    return scaled.mul_(root.view(rows)).mul_(root.view(rows))


def t_vat(
    feat: Tensor,
    decode: Callable[[Tensor], Tensor],
    xi: float = 0.1,
    eps: float = 2.0,
    num_iters: int = 1,
    generator: Optional[torch.Generator] = None,
) -> Tensor:
    """Virtual adversarial perturbation of a feature, judged by the teachers.

    Maximizes, within the L2 ball of radius ``eps`` around each sample, the
    KL divergence from ``softmax(decode(feat))`` to
    ``softmax(decode(feat + r))`` by power iteration from a random feature
    (Miyato et al., arXiv 1704.03976; with teachers: PS-MT, arXiv 2111.12903,
    eq. 3).

    An iteration replaces the direction by the gradient of the divergence at
    a step of length ``xi``. Results are normalized without an additive
    constant: with ``xi = 1e-6`` or a constant in the norm, as in the released
    code, the perturbation shrinks with the teachers' confidence.

    Args:
        feat (Tensor): Feature, shape (N, C, H, W). It is neither modified
            nor given a gradient.
        decode (Callable): Maps a feature to logits (N, K, h, w). Its
            parameters get no gradient.
        xi (float): Step of the finite difference, an L2 norm per sample.
        eps (float): L2 norm of the result per sample.
        num_iters (int): Power iterations.
        generator (torch.Generator, optional): Source of the random numbers,
            on the device of ``feat``.

    Returns:
        Tensor: ``r_adv``, float32, or float64 for such a feature, shape of
        ``feat``, norm ``eps`` for each sample. A sample whose KL is flat gets
        a random direction. Computed in float32 outside autocast.

    Raises:
        ValueError: If ``xi``, ``eps`` or ``num_iters`` is not positive.
    """
    _check(xi, eps, num_iters)
    if feat.numel() == 0:
        return torch.zeros_like(feat)
    with (
        torch.inference_mode(False)  # which knows no gradient
        if torch.is_inference_mode_enabled()
        else nullcontext(),
        torch.autocast(feat.device.type, enabled=False),
    ):
        feat = feat.clone() if feat.is_inference() else feat.detach()
        feat = feat if feat.dtype == torch.float64 else feat.float()
        noise = torch.randn(
            feat.shape,
            generator=generator,
            device=feat.device,
            dtype=feat.dtype,
        )
        with torch.no_grad():
            clean = F.softmax(decode(feat).to(feat.dtype), dim=1)
        step = _scaled(noise, xi, noise)
        for length in [xi] * (num_iters - 1) + [eps]:
            with torch.enable_grad():
                step.requires_grad_()
                log_perturbed = F.log_softmax(
                    decode(feat + step).to(feat.dtype), dim=1
                )
                divergence = F.kl_div(log_perturbed, clean, reduction='sum')
            (gradient,) = torch.autograd.grad(divergence, step)
            step = _scaled(gradient, length, step.detach())
        return step


@MODELS.register_module()
class TVAT(nn.Module):
    """:func:`t_vat` with its options.

    Args:
        xi (float): Step of the finite difference. Defaults to 0.1.
        eps (float): L2 norm of the perturbation per image. Defaults to 2.0.
        num_iters (int): Power iterations. Defaults to 1.
    """

    def __init__(self, xi: float = 0.1, eps: float = 2.0, num_iters: int = 1):
        super().__init__()
        _check(xi, eps, num_iters)
        self.xi = xi
        self.eps = eps
        self.num_iters = num_iters

    def forward(
        self, feat: Tensor, decode: Callable[[Tensor], Tensor]
    ) -> Tensor:
        return t_vat(feat, decode, self.xi, self.eps, self.num_iters)
