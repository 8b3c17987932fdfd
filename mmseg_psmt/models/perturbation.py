"""T-VAT: the feature perturbation that the teachers find hardest."""
from math import inf
from numbers import Integral, Real
from typing import Callable, Optional

import torch
import torch.nn as nn
import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor


def _check(xi: float, eps: float, num_iters: int, norm_eps: float,
           chunk: Optional[int]) -> None:
    if not (all(isinstance(x, Real) for x in (xi, eps, norm_eps))
            and 0 < xi < inf and 0 < eps < inf and 0 <= norm_eps < inf):
        raise ValueError('xi and eps must be positive and norm_eps at least '
                         f'0, got xi={xi!r}, eps={eps!r}, '
                         f'norm_eps={norm_eps!r}')
    if not (isinstance(num_iters, Integral) and num_iters >= 1):
        raise ValueError('num_iters must be a whole number of at least 1, '
                         f'got {num_iters!r}')
    if chunk is not None and not (isinstance(chunk, Integral) and chunk >= 1):
        raise ValueError('chunk must be None or a whole number of at least 1, '
                         f'got {chunk!r}')


def _scaled(d: Tensor, length: float, fallback: Tensor,
            norm_eps: float) -> Tensor:
    """Scale each sample of ``d`` to an L2 norm, whatever its magnitude.

    A sample that is all zero or not finite takes that of ``fallback``. A
    ``norm_eps`` is added to a plain norm instead.
    """
    flat = d.flatten(1)
    if norm_eps:
        norm = flat.norm(dim=1, keepdim=True)
        return (flat * (length / (norm + norm_eps))).view_as(d)
    fallback = fallback.flatten(1)
    norm, other = (  # float64 holds the squares of all float32
        torch.linalg.vector_norm(x, dim=1, keepdim=True, dtype=torch.float64)
        for x in (flat, fallback))
    usable = torch.isfinite(norm) & (norm > 0)
    root = (length / torch.where(usable, norm, other)).sqrt().float()
    scaled = torch.where(usable, flat, fallback)
    return scaled.mul_(root).mul_(root).view_as(d)


def _ascend(feat: Tensor, decode: Callable[[Tensor], Tensor], noise: Tensor,
            xi: float, eps: float, num_iters: int, norm_eps: float) -> Tensor:
    """The power iteration of :func:`t_vat` from a first direction."""
    step = _scaled(noise, xi, noise, norm_eps)
    with torch.no_grad():
        clean = F.softmax(decode(feat).float(), dim=1)
    for length in [xi] * (num_iters - 1) + [eps]:
        with torch.enable_grad():
            step.requires_grad_()
            log_perturbed = F.log_softmax(decode(feat + step).float(), dim=1)
            divergence = F.kl_div(log_perturbed, clean, reduction='sum')
        gradient, = torch.autograd.grad(divergence, step)
        step = _scaled(gradient, length, step.detach(), norm_eps)
    return step


def t_vat(feat: Tensor,
          decode: Callable[[Tensor], Tensor],
          xi: float = 0.1,
          eps: float = 2.0,
          num_iters: int = 1,
          norm_eps: float = 0.,
          chunk: Optional[int] = None,
          generator: Optional[torch.Generator] = None) -> Tensor:
    """Virtual adversarial perturbation of a feature, judged by the teachers.

    Maximises, within the L2 ball of radius ``eps`` around each sample, the
    KL divergence from ``softmax(decode(feat))`` to
    ``softmax(decode(feat + r))`` by power iteration (Miyato et al.,
    arXiv 1704.03976; with teachers: PS-MT, arXiv 2111.12903, eq. 3).

    Everything is computed in float32 outside autocast and normalised without
    an additive constant: with ``xi = 1e-6`` or a constant in the norm the
    perturbation shrinks with the teachers' confidence.

    Args:
        feat (Tensor): Feature, shape (N, C, H, W). It is neither modified
            nor given a gradient.
        decode (Callable): Maps a feature to logits (N, K, h, w). Its
            parameters get no gradient.
        xi (float): Step of the finite difference, an L2 norm per sample.
        eps (float): L2 norm of the result per sample.
        num_iters (int): Power iterations.
        norm_eps (float): Added to the norms, as in the released code; the
            result then has a norm of at most ``eps``.
        chunk (int, optional): Samples that are decoded at once, for less
            memory. The result is the same if ``decode`` maps each sample by
            itself. None takes all.
        generator (torch.Generator, optional): Source of the first direction,
            on the device of ``feat``.

    Returns:
        Tensor: ``r_adv``, float32, shape of ``feat``, norm ``eps`` for each
        sample. A sample whose KL is flat keeps its random direction.

    Raises:
        ValueError: If ``xi``, ``eps``, ``num_iters`` or ``chunk`` is not
            positive, or ``norm_eps`` is negative.
    """
    _check(xi, eps, num_iters, norm_eps, chunk)
    with torch.autocast(feat.device.type, enabled=False):
        feat = feat.detach().float()
        noise = torch.randn(
            feat.shape, generator=generator, device=feat.device)
        size = chunk or len(feat)
        parts = [
            _ascend(part, decode, start, xi, eps, num_iters, norm_eps)
            for part, start in zip(feat.split(size), noise.split(size))
        ]
        return torch.cat(parts) if len(parts) > 1 else parts[0]


@MODELS.register_module()
class TVAT(nn.Module):
    """:func:`t_vat` with its numbers.

    Args:
        xi (float): Step of the finite difference. Defaults to 0.1.
        eps (float): L2 norm of the perturbation per image. Defaults to 2.0.
        num_iters (int): Power iterations. Defaults to 1.
        norm_eps (float): See :func:`t_vat`. Defaults to 0.
        chunk (int, optional): See :func:`t_vat`. Defaults to all.
    """

    def __init__(self,
                 xi: float = 0.1,
                 eps: float = 2.0,
                 num_iters: int = 1,
                 norm_eps: float = 0.,
                 chunk: Optional[int] = None):
        super().__init__()
        _check(xi, eps, num_iters, norm_eps, chunk)
        self.xi = xi
        self.eps = eps
        self.num_iters = num_iters
        self.norm_eps = norm_eps
        self.chunk = chunk

    def forward(self, feat: Tensor,
                decode: Callable[[Tensor], Tensor]) -> Tensor:
        return t_vat(feat, decode, self.xi, self.eps, self.num_iters,
                     self.norm_eps, self.chunk)
