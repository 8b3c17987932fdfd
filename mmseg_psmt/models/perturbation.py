"""T-VAT: the feature perturbation that the teachers find hardest."""
from contextlib import nullcontext
from math import inf
from numbers import Integral, Real
from typing import Callable, Optional

import torch
import torch.nn as nn
import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor


def _check(xi: float, eps: float, num_iters: int, norm_eps: float,
           start: str) -> None:
    if not (all(isinstance(x, Real) for x in (xi, eps, norm_eps))
            and 0 < xi < inf and 0 < eps < inf and 0 <= norm_eps < inf):
        raise ValueError('xi and eps must be positive and norm_eps at least '
                         f'0, got xi={xi!r}, eps={eps!r}, '
                         f'norm_eps={norm_eps!r}')
    if not (isinstance(num_iters, Integral) and num_iters >= 1):
        raise ValueError('num_iters must be a whole number of at least 1, '
                         f'got {num_iters!r}')
    if start not in ('logits', 'feature'):
        raise ValueError("start must be 'logits' or 'feature', got "
                         f'{start!r}')
    if norm_eps and start == 'logits':
        raise ValueError("norm_eps must be 0 with start='logits', whose "
                         'gradient has no scale of its own, got '
                         f"{norm_eps!r}: set start='feature' too")


def _scaled(d: Tensor, length: float, fallback: Tensor,
            norm_eps: float) -> Tensor:
    """Scale each sample of ``d`` to an L2 norm, whatever its magnitude.

    A sample that is all zero or not finite takes that of ``fallback``, which
    is broadcast. A ``norm_eps`` is added to a plain norm instead.
    """
    rows = (-1, *[1] * (d.dim() - 1))
    if norm_eps:
        norm = d.flatten(1).norm(dim=1).view(rows)
        return d * (length / (norm + norm_eps))
    norm, other = (  # float64 holds the squares of all float32
        torch.linalg.vector_norm(x.flatten(1), dim=1, dtype=torch.float64)
        for x in (d, fallback))
    other = other * (d.numel() / fallback.numel())**0.5
    usable = torch.isfinite(norm) & (norm > 0)
    root = (length / torch.where(usable, norm, other)).sqrt().to(d.dtype)
    scaled = torch.where(usable.view(rows), d, fallback)
    return scaled.mul_(root.view(rows)).mul_(root.view(rows))


def _pull(clean: Tensor, generator: Optional[torch.Generator]) -> Tensor:
    """Gradient by the logits that draws each image to random classes.

    It is ``F u``, with the covariance ``F`` of the classes at each pixel and
    one random ``u`` for all pixels of an image. Scaled to a maximum of 1, for
    float16 holds nothing of what confident teachers leave.
    """
    u = torch.randn(*clean.shape[:2], 1, 1, generator=generator,
                    device=clean.device, dtype=clean.dtype)
    pull = clean * (u - (clean * u).sum(dim=1, keepdim=True))
    most = pull.abs().amax(dim=(1, 2, 3), keepdim=True)
    return pull / most.clamp(min=torch.finfo(most.dtype).tiny)


def t_vat(feat: Tensor,
          decode: Callable[[Tensor], Tensor],
          xi: float = 0.1,
          eps: float = 2.0,
          num_iters: int = 1,
          norm_eps: float = 0.,
          start: str = 'logits',
          generator: Optional[torch.Generator] = None) -> Tensor:
    """Virtual adversarial perturbation of a feature, judged by the teachers.

    Maximises, within the L2 ball of radius ``eps`` around each sample, the
    KL divergence from ``softmax(decode(feat))`` to
    ``softmax(decode(feat + r))`` by power iteration (Miyato et al.,
    arXiv 1704.03976; with teachers: PS-MT, arXiv 2111.12903, eq. 3).

    Near ``feat`` the Hessian of the divergence is ``J' F J``, with the
    Jacobian ``J`` of ``decode`` and the covariance ``F`` of the classes at
    each pixel. An iteration takes ``d`` to ``J' F J d``, by a finite
    difference of length ``xi``. Results are normalised without an additive
    constant: with ``xi = 1e-6`` or a constant in the norm the perturbation
    shrinks with the teachers' confidence.

    Args:
        feat (Tensor): Feature, shape (N, C, H, W). It is neither modified
            nor given a gradient.
        decode (Callable): Maps a feature to logits (N, K, h, w). Its
            parameters get no gradient.
        xi (float): Step of the finite difference, an L2 norm per sample.
        eps (float): L2 norm of the result per sample.
        num_iters (int): Power iterations.
        norm_eps (float): Added to the norms, as in the released code; the
            result then has a norm of at most ``eps``. Needs 'feature'.
        start (str): Where the first iteration begins. 'feature' takes a
            random feature ``d``, as the paper does. 'logits' takes random
            logits, the same at all pixels of an image, for ``J d``: the
            first iteration then decodes once instead of twice and needs no
            finite difference.
        generator (torch.Generator, optional): Source of the random numbers,
            on the device of ``feat``.

    Returns:
        Tensor: ``r_adv``, float32, or float64 for such a feature, shape of
        ``feat``, norm ``eps`` for each sample. A sample whose KL is flat gets
        a random direction. Finite differences are computed in float32 outside
        autocast; without them, that is with 'logits' and one iteration,
        autocast is heeded.

    Raises:
        ValueError: If ``xi``, ``eps`` or ``num_iters`` is not positive,
            ``norm_eps`` is negative or meets 'logits', or ``start`` is
            unknown.
    """
    _check(xi, eps, num_iters, norm_eps, start)
    halfway = start == 'logits'
    exact = num_iters > 1 or not halfway
    lengths = [xi] * (num_iters - 1) + [eps]
    if feat.numel() == 0:
        return torch.zeros_like(feat)
    with (torch.inference_mode(False)  # which knows no gradient
          if torch.is_inference_mode_enabled() else nullcontext(),
          torch.autocast(feat.device.type, enabled=False)
          if exact else nullcontext()):
        feat = feat.clone() if feat.is_inference() else feat.detach()
        feat = feat if feat.dtype == torch.float64 else feat.float()
        shape = feat.shape
        if halfway:  # the noise is for flat samples alone
            shape = shape[:2] + (1, ) * len(shape[2:])
        noise = torch.randn(shape, generator=generator, device=feat.device,
                            dtype=feat.dtype)
        with torch.set_grad_enabled(halfway):
            # a view, because torch's hooks of modules take no leaf
            view = feat.requires_grad_(halfway).view_as(feat)
            logits = decode(view).to(feat.dtype)
        clean = F.softmax(logits.detach(), dim=1)
        if halfway:
            gradient, = torch.autograd.grad(
                logits, feat, _pull(clean, generator))
            step = _scaled(gradient, lengths.pop(0), noise, norm_eps)
        else:
            step = _scaled(noise, xi, noise, norm_eps)
        for length in lengths:
            with torch.enable_grad():
                step.requires_grad_()
                log_perturbed = F.log_softmax(
                    decode(feat.detach() + step).to(feat.dtype), dim=1)
                divergence = F.kl_div(log_perturbed, clean, reduction='sum')
            gradient, = torch.autograd.grad(divergence, step)
            step = _scaled(gradient, length, step.detach(), norm_eps)
        return step


@MODELS.register_module()
class TVAT(nn.Module):
    """:func:`t_vat` with its numbers.

    Args:
        xi (float): Step of the finite difference. Defaults to 0.1.
        eps (float): L2 norm of the perturbation per image. Defaults to 2.0.
        num_iters (int): Power iterations. Defaults to 1.
        norm_eps (float): See :func:`t_vat`. Defaults to 0.
        start (str): See :func:`t_vat`. Defaults to 'logits'.
    """

    def __init__(self,
                 xi: float = 0.1,
                 eps: float = 2.0,
                 num_iters: int = 1,
                 norm_eps: float = 0.,
                 start: str = 'logits'):
        super().__init__()
        _check(xi, eps, num_iters, norm_eps, start)
        self.xi = xi
        self.eps = eps
        self.num_iters = num_iters
        self.norm_eps = norm_eps
        self.start = start

    def forward(self, feat: Tensor,
                decode: Callable[[Tensor], Tensor]) -> Tensor:
        return t_vat(feat, decode, self.xi, self.eps, self.num_iters,
                     self.norm_eps, self.start)
