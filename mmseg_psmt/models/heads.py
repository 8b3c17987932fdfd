"""The decode heads of mmseg; no other module names one."""

from typing import Dict, List, Optional, Sequence, Tuple, Union

import torch
import torch.nn as nn
from mmseg.utils import ConfigType
from torch import Tensor

# The submodule that takes the last shared feature of a head: ``head(x)`` is
# ``head.cls_seg(site(f))``, where ``f`` is what enters the site. Of several
# the first that the head has.
SITES = {
    'ANNHead': ('context',),
    'APCHead': ('bottleneck',),
    'ASPPHead': ('bottleneck',),
    'CCHead': ('conv_cat', 'convs.1'),
    'DAHead': ('conv_seg',),
    'DDRHead': ('head',),
    'DMHead': ('bottleneck',),
    'DNLHead': ('conv_cat', 'convs.1'),
    'DPTHead': ('project',),
    'DepthwiseSeparableASPPHead': ('sep_bottleneck',),
    'DepthwiseSeparableFCNHead': ('conv_cat', 'convs'),
    'EMAHead': ('conv_cat', 'bottleneck'),
    'EncHead': ('conv_seg',),
    'FCNHead': ('conv_cat', 'convs'),
    'FPNHead': ('conv_seg',),
    'GCHead': ('conv_cat', 'convs.1'),
    'ISAHead': ('out_conv',),
    'LRASPPHead': ('conv_ups.conv_up0',),
    'LightHamHead': ('align',),
    'NLHead': ('conv_cat', 'convs.1'),
    'OCRHead': ('object_context_block.bottleneck',),
    'PIDHead': ('i_head.act',),
    'PSAHead': ('bottleneck',),
    'PSPHead': ('bottleneck',),
    'SETRMLAHead': ('conv_seg',),
    'SETRUPHead': ('up_convs.-1',),
    'STDCHead': ('conv_cat', 'convs'),
    'SegformerHead': ('fusion_conv',),
    'UPerHead': ('fpn_bottleneck',),
}

# In place of a submodule: all that enters the head, which is run again.
INPUTS = 'inputs'

REFUSED = {
    'MaskFormerHead': 'it predicts masks with one class each, not pixels',
    'Mask2FormerHead': 'it predicts masks with one class each, not pixels',
    'SideAdapterCLIPHead': 'it predicts masks matched with texts, not pixels',
    'VPDDepthHead': 'it predicts depth, not classes',
}

# Heads that cannot be run again, and those derived from them.
_SINGLE_PASS = {
    'BaseCascadeDecodeHead': 'it also takes the logits of the head before',
    'DDRHead': 'it takes other inputs in training',
    'PIDHead': 'it takes other inputs in training',
}

# Heads that predict boundaries, whatever the classes.
_BOUNDARIES = {'STDCHead'}

# The prediction, of heads whose forward gives several logits.
_PREDICTION = {
    'DAHead': 0,
    'DDRHead': 0,
    'EncHead': 0,
    'IterativeDecodeHead': -1,
    'PIDHead': 1,
}


def refuse(segmentor: ConfigType) -> None:
    """Raise ValueError if a decode head of a config has no pixel logits."""
    heads = segmentor['decode_head']
    for head in heads if isinstance(heads, (list, tuple)) else [heads]:
        kind = head['type']
        kind = kind if isinstance(kind, str) else kind.__name__
        reason = REFUSED.get(kind.split('.')[-1])
        if reason:
            raise ValueError(
                f'PSMT cannot train {kind}: {reason}. Every other decode '
                'head of mmseg works, such as UPerHead or SegformerHead on '
                'the same backbone'
            )


def _kinds(head: nn.Module) -> List[str]:
    return [kind.__name__ for kind in type(head).__mro__]


def find_site(head: nn.Module, perturb_at: Optional[str] = None) -> str:
    """Name of the submodule in front of which a head is perturbed.

    Args:
        head (nn.Module): A decode head of mmseg.
        perturb_at (str, optional): Name of a submodule of ``head`` that is
            followed by ``cls_seg`` alone, or 'inputs'; overrides the known
            one.

    Returns:
        str: Dotted name; 'inputs' for a head that is not mmseg's own.

    Raises:
        ValueError: If ``perturb_at`` names no submodule, or the head cannot
            be run again from its inputs.
    """
    names = dict(head.named_modules())
    if perturb_at not in (None, INPUTS):
        if perturb_at not in [name for name in names if name]:
            children = [name for name, _ in head.named_children()]
            raise ValueError(
                f'perturb_at={perturb_at!r} is no submodule of '
                f'{type(head).__name__}; its children are {children}, and '
                f'{INPUTS!r} stands for all that enters it'
            )
        return perturb_at
    known = type(head).__module__.startswith('mmseg.') and perturb_at is None
    for site in SITES.get(type(head).__name__, ()) if known else ():
        parent, _, last = site.rpartition('.')
        if last == '-1':
            site = f'{parent}.{len(names[parent]) - 1}'
        if site in names:
            return site
    for kind in _kinds(head):
        if kind in _SINGLE_PASS:
            raise ValueError(
                f'{type(head).__name__} cannot be run again for T-VAT: '
                f'{_SINGLE_PASS[kind]}. Name the submodule that takes its '
                "last feature with model.perturb_at ('conv_seg' suits every "
                'head that ends in cls_seg), or set model.tvat=None'
            )
    return INPUTS


def tapped_head(segmentor: nn.Module) -> nn.Module:
    """The decode head whose feature is perturbed.

    In a cascade the last one, but for PointRend the one that it refines: its
    own features belong to single points.
    """
    heads = segmentor.decode_head
    if not isinstance(heads, nn.ModuleList):
        return heads
    return heads[-2] if 'PointHead' in _kinds(heads[-1]) else heads[-1]


def head_with_inputs(
    segmentor: nn.Module, images: Tensor
) -> Tuple[nn.Module, list]:
    """The tapped head, and what its forward is given for images."""
    tapped, feats = tapped_head(segmentor), segmentor.extract_feat(images)
    inputs = [feats]
    for head in (
        () if tapped is segmentor.decode_head else segmentor.decode_head
    ):
        if head is tapped:
            break
        inputs = [feats, head.forward(*inputs)]
    return tapped, inputs


def predicts_classes(head: nn.Module) -> bool:
    """Whether a head predicts the classes of the data set."""
    return _BOUNDARIES.isdisjoint(_kinds(head))


def class_heads(segmentor: nn.Module) -> Dict[str, nn.Module]:
    """Heads that predict the classes of the data set, by their name."""
    return {
        name: head
        for name, head in segmentor.named_modules()
        if name.split('.')[0].endswith('_head')
        and predicts_classes(head)
        and getattr(head, 'num_classes', None) is not None
    }


def prediction_of(
    head: nn.Module, out: Union[Tensor, Sequence[Tensor]]
) -> Tensor:
    """Logits (N, K, h, w) that a head predicts with, of what it returns."""
    if torch.is_tensor(out):
        return out
    for kind in _kinds(head):
        if kind in _PREDICTION:
            return out[_PREDICTION[kind]]
    raise ValueError(
        f'{type(head).__name__} returns {len(out)} outputs, and '
        'PSMT cannot tell which is the prediction: let its '
        'forward return that one'
    )


def logits_of(segmentor: nn.Module, images: Tensor) -> Tensor:
    """Logits (N, K, h, w) of images (N, 3, H, W), whatever the mode."""
    if isinstance(segmentor.decode_head, nn.ModuleList):
        metas = [dict(img_shape=images.shape[2:]) for _ in images]
        return segmentor.encode_decode(images, metas)
    return prediction_of(segmentor.decode_head, segmentor(images))
