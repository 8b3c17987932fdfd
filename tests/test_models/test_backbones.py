"""Encoders of mmpretrain and timm: weights, rates, sharing, sizes, configs."""

import copy
import math
import re
import runpy
import subprocess
import sys
import time
from functools import reduce
from pathlib import Path

import pytest
import test_psmt
import torch
from fake_data import fake_cityscapes, fake_shapes
from mmengine import Config
from mmengine.optim import build_optim_wrapper
from mmengine.runner import Runner
from mmengine.utils.dl_utils import collect_env
from mmseg.registry import MODELS
from mmseg.utils import register_all_modules

from mmseg_psmt.datasets.checks import batch_problems
from mmseg_psmt.models import DPTNeck, HeadTap, ema_update_
from mmseg_psmt.models.encoders import once, patch_size

pytestmark = pytest.mark.mmpretrain
REPO = Path(__file__).resolve().parents[2]
CONFIGS = REPO / 'configs/psmt'
TINY = dict(embed_dims=48, num_layers=2, num_heads=3, feedforward_channels=192)
VIT = dict(
    type='mmpretrain.VisionTransformer',
    arch=TINY,
    img_size=56,
    patch_size=14,
    layer_scale_init_value=1e-5,
    out_type='featmap',
    out_indices=[0, 1],
)
CONVERTER = REPO / 'tools/model_converters/dinov2_to_mmpretrain.py'


@pytest.fixture(scope='module', autouse=True)
def modules():
    register_all_modules()
    import mmpretrain.models  # noqa: F401


@pytest.fixture
def convert():
    return runpy.run_path(str(CONVERTER))['convert']


def psmt(backbone, channels=48, **options):
    head = dict(
        type='FCNHead',
        in_channels=channels,
        in_index=-1,
        channels=4,
        num_convs=1,
        kernel_size=1,
        concat_input=False,
        num_classes=3,
        norm_cfg=dict(type='BN'),
    )
    return MODELS.build(
        dict(
            type='PSMT',
            segmentor=dict(
                type='EncoderDecoder',
                backbone=backbone,
                decode_head=head,
                data_preprocessor=dict(type='SegDataPreProcessor'),
            ),
            data_preprocessor=dict(size=(56, 56)),
            consistency=dict(type='ConfCELoss', threshold=0.0),
            **options,
        )
    )


def meta_dinov2():
    """timm's DINOv2, which has Meta's names, with weights that all count."""
    timm = pytest.importorskip('timm')
    net = timm.create_model(
        'vit_small_patch14_dinov2',
        embed_dim=48,
        depth=2,
        num_heads=3,
        img_size=56,
    )
    return randomized(net)


def randomized(net):
    with torch.no_grad():
        for param in net.parameters():
            param.normal_(std=0.2)
    net.eval()  # of mmpretrain it returns nothing
    return net


def same_maps(theirs, ours):
    images = torch.randn(2, 3, 56, 56)
    with torch.no_grad():
        first, last = theirs.forward_intermediates(
            images, indices=[0, 1], intermediates_only=True
        )
        last = theirs.norm(last.movedim(1, -1)).movedim(-1, 1)
        maps = ours(images)
    assert last.std() > 0.1
    for wanted, found in zip((first, last), maps):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def test_meta_weights_mean_the_same_in_mmpretrain(convert, tmp_path):
    theirs, ours = meta_dinov2(), MODELS.build(VIT)
    weights = dict(theirs.state_dict(), mask_token=torch.zeros(1, 48))
    torch.save(weights, tmp_path / 'meta.pth')
    subprocess.run(
        [
            sys.executable,
            CONVERTER,
            tmp_path / 'meta.pth',
            tmp_path / 'ours.pth',
        ],
        check=True,
    )
    ours.load_state_dict(torch.load(tmp_path / 'ours.pth'), strict=True)
    ours.eval()
    same_maps(theirs, ours)


def test_weights_of_mmpretrain_mean_the_same_to_timm(convert):
    theirs, ours = meta_dinov2(), randomized(MODELS.build(VIT))
    theirs.load_state_dict(convert(ours.state_dict(), True), strict=True)
    same_maps(theirs, ours)
    weights = theirs.state_dict()
    there_and_back = convert(convert(weights), reverse=True)
    assert all(there_and_back[name] is weights[name] for name in weights)


@pytest.mark.parametrize(
    'change, message',
    [
        (
            lambda w: w.update(register_tokens=torch.zeros(1, 4, 48)),
            'register',
        ),
        (lambda w: w.pop('blocks.1.ls2.gamma'), 'layers.1.ffn.gamma2.weight'),
        (lambda w: w.update(fc=torch.zeros(1)), 'fc is no weight of DINOv2'),
        (lambda w: w.clear(), 'lack all layers'),
    ],
)
def test_other_weights_are_refused(change, message, convert):
    weights = meta_dinov2().state_dict()
    change(weights)
    with pytest.raises(ValueError, match=message):
        convert(weights)


@pytest.mark.parametrize(
    'change, options, message',
    [
        (None, {}, None),
        (lambda w: w.update({'head.weight': torch.zeros(2)}), {}, None),
        (
            lambda w: [w.pop(k) for k in [*w] if 'gamma' in k],
            {},
            '4 of its weights',
        ),
        # as the offsets of deformable convolutions
        (lambda w: w.pop('layers.0.attn.gamma1.weight'), {}, None),
        # the first blocks of a deeper network
        (lambda w: w.update({'layers.2.ln1.bias': torch.zeros(9)}), {}, None),
        (
            None,
            dict(layer_scale_init_value=0.0),
            '4 weights of the checkpoint',
        ),
        (
            lambda w: w.update(
                {k: v.new_zeros(1, 8) for k, v in w.items() if k[0] == 'l'}
            ),
            {},
            'another shape',
        ),
        (
            lambda w: w.update(
                {'patch_embed.projection.bias': torch.zeros(9)}
            ),
            {},
            None,
        ),  # as the stem for images of more channels
    ],
)
@pytest.mark.parametrize('prefix', ['', 'backbone.'])
def test_pretrained_weights_fit_or_stop(
    prefix, change, options, message, tmp_path
):
    weights = randomized(MODELS.build(VIT)).state_dict()
    if change:
        change(weights)
    file = tmp_path / 'vit.pth'
    torch.save({prefix + name: x for name, x in weights.items()}, file)
    init = dict(type='Pretrained', checkpoint=str(file))
    model = psmt(
        dict(
            VIT,
            **options,
            init_cfg=dict(init, **dict(prefix=prefix) if prefix else {}),
        )
    )
    if message:
        with pytest.raises(ValueError, match=message):
            model.init_weights()
        return
    model.init_weights()
    for net in (model.segmentor, *model.teachers):
        assert torch.equal(net.backbone.cls_token, weights['cls_token'])


def test_a_forgotten_prefix_stops(tmp_path):
    weights = MODELS.build(VIT).state_dict()
    torch.save(
        {f'backbone.{k}': v for k, v in weights.items()}, tmp_path / 'vit.pth'
    )
    model = psmt(
        dict(
            VIT,
            init_cfg=dict(
                type='Pretrained', checkpoint=str(tmp_path / 'vit.pth')
            ),
        )
    )
    with pytest.raises(ValueError, match='name their prefix'):
        model.init_weights()


# Halvings of the rate, and whether the weight decays.
LAYERS = {
    'mmpretrain ViT': (
        VIT,
        48,
        {
            'cls_token': (3, False),
            'pos_embed': (3, False),
            'patch_embed.projection.weight': (3, True),
            'layers.0.attn.qkv.weight': (2, True),
            'layers.0.attn.gamma1.weight': (2, False),
            'layers.1.ffn.layers.0.0.weight': (1, True),
            'layers.1.ln1.weight': (1, False),
            'ln1.weight': (0, False),
        },
    ),
    'mmpretrain EVA02': (
        dict(
            type='mmpretrain.ViTEVA02',
            arch=TINY,
            img_size=56,
            patch_size=14,
            out_type='featmap',
            out_indices=[0, 1],
        ),
        48,
        {
            'pos_embed': (3, False),
            'patch_embed.projection.weight': (3, True),
            'layers.0.mlp.w3.weight': (2, True),
            'layers.1.norm1.bias': (1, False),
            'ln1.weight': (0, False),
        },
    ),
    'mmpretrain Swin': (
        dict(
            type='mmpretrain.SwinTransformer',
            out_indices=(0, 1, 2, 3),
            arch=dict(
                embed_dims=12, depths=[1, 2, 1, 1], num_heads=[1, 2, 3, 4]
            ),
        ),
        96,
        {
            'patch_embed.projection.weight': (6, True),
            'stages.0.blocks.0.norm1.weight': (5, False),
            'stages.0.downsample.reduction.weight': (5, True),
            'stages.1.blocks.1.ffn.layers.1.weight': (3, True),
            'stages.3.blocks.0.ffn.layers.1.weight': (1, True),
            'norm3.weight': (0, False),
        },
    ),
    'mmseg Swin': (
        dict(
            type='SwinTransformer',
            embed_dims=12,
            depths=(1, 2, 1, 1),
            num_heads=(1, 2, 3, 4),
        ),
        96,
        {
            'patch_embed.projection.weight': (6, True),
            'stages.0.downsample.reduction.weight': (5, True),
            'stages.1.blocks.1.ffn.layers.1.weight': (3, True),
            'norm3.weight': (0, False),
        },
    ),
    'timm DINOv3': (
        dict(
            type='TIMMBackbone',
            model_name='vit_small_patch16_dinov3',
            pretrained=False,
            embed_dim=48,
            depth=2,
            num_heads=2,
            out_indices=(0, 1),
        ),
        48,
        {
            'timm_model.model.reg_token': (3, False),
            'timm_model.model.patch_embed.proj.weight': (3, True),
            'timm_model.model.blocks.0.attn.qkv.weight': (2, True),
            'timm_model.model.blocks.1.mlp.fc2.bias': (1, False),
        },
    ),
    'timm ConvNeXt': (
        dict(
            type='TIMMBackbone',
            model_name='convnext_atto',
            pretrained=False,
            depths=(1, 2, 1, 1),
            dims=(8, 8, 8, 16),
        ),
        16,
        {
            'timm_model.stem_0.weight': (6, True),
            'timm_model.stages_0.blocks.0.mlp.fc1.weight': (5, True),
            'timm_model.stages_1.downsample.1.weight': (4, True),
            'timm_model.stages_1.blocks.1.gamma': (3, False),
        },
    ),
    'timm EfficientNet': (
        dict(
            type='TIMMBackbone',
            model_name='tf_efficientnet_lite0',
            pretrained=False,
        ),
        320,
        {
            'timm_model.conv_stem.weight': (17, True),
            'timm_model.blocks.0.0.conv_dw.weight': (16, True),
            'timm_model.blocks.6.0.conv_pwl.weight': (1, True),
        },
    ),
}


@pytest.mark.parametrize('twin', [False, True])
@pytest.mark.parametrize('kind', LAYERS)
def test_layer_decay(kind, twin):
    if 'timm' in kind:
        pytest.importorskip('timm')
    backbone, channels, table = LAYERS[kind]
    model = psmt(backbone, channels)
    wrapper = build_optim_wrapper(
        model.segmentor if twin else model,
        dict(
            type='OptimWrapper',
            constructor='PSMTLayerDecayOptimizerConstructor',
            optimizer=dict(type='AdamW', lr=1.0, weight_decay=0.05),
            paramwise_cfg=dict(decay_rate=0.5),
        ),
    )
    names = {param: name for name, param in model.segmentor.named_parameters()}
    found = {
        names[param]: (-math.log2(group['lr']), group['weight_decay'] > 0)
        for group in wrapper.optimizer.param_groups
        for param in group['params']
    }
    assert {*found} == {*names.values()}
    for name, wanted in table.items():
        assert found[f'backbone.{name}'] == wanted, name
    assert found['decode_head.conv_seg.weight'] == (0, True)


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(num_layers=12), 'has 2 blocks'),
        (dict(decay_type='stage_wise'), "set it to 'layer_wise'"),
    ],
)
def test_other_layers_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        build_optim_wrapper(
            psmt(VIT),
            dict(
                type='OptimWrapper',
                constructor='PSMTLayerDecayOptimizerConstructor',
                optimizer=dict(type='AdamW', lr=1.0),
                paramwise_cfg=dict(decay_rate=0.5, **options),
            ),
        )


def batch(num=2, size=56):
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    views = 'labeled', 'weak', 'strong'
    label = PixelData(data=torch.randint(3, (1, size, size)))
    inputs = {view: torch.randn(num, 3, size, size) for view in views}
    inputs['valid'] = torch.ones(num, size, size, dtype=torch.bool)
    return inputs, {
        view: [SegDataSample(gt_sem_seg=label)] * num for view in views
    }


def saved_bytes(model, inputs, samples):
    kept = {}

    def keep(x):
        kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        losses = model.loss(inputs, samples)
    return sum(kept.values()), model.parse_losses(losses)[0]


def test_a_frozen_encoder_keeps_no_graph_and_is_shared():
    torch.manual_seed(0)
    free, frozen = psmt(VIT), psmt(VIT, freeze_backbone=True)
    free.init_weights()
    frozen.load_state_dict(free.state_dict())
    assert frozen.state_dict().keys() == free.state_dict().keys()
    runs, forward = [], frozen.segmentor.backbone.layers[0].forward
    frozen.segmentor.backbone.layers[0].forward = lambda x: (
        runs.append(len(x)) or forward(x)
    )
    data, sizes, losses = batch(), [], []
    for model in (free, frozen):
        model.iter = 0
        torch.manual_seed(1)
        size, loss = saved_bytes(model.train(), *copy.deepcopy(data))
        sizes.append(size)
        losses.append(loss)
    torch.testing.assert_close(*losses)
    assert sizes[1] < sizes[0] / 3
    assert runs == [2, 4]  # both teachers, then labeled and strong
    losses[1].backward()
    encoder = frozen.segmentor.backbone
    assert all(p.grad is None for p in encoder.parameters())
    assert all(teacher.backbone is encoder for teacher in frozen.teachers)
    assert not any(m.training for m in encoder.modules())
    before = copy.deepcopy(encoder.state_dict())
    with torch.no_grad():
        frozen.segmentor.decode_head.conv_seg.weight.add_(1.0)
    frozen.teachers.decay = 0.5
    frozen.teachers.age = 9
    frozen.update_teacher()
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, before[name])
    assert not torch.equal(
        frozen.teachers[0].decode_head.conv_seg.weight,
        frozen.teachers[1].decode_head.conv_seg.weight,
    )


def test_once_forgets_other_images():
    net = torch.nn.Linear(2, 2)
    one, two = torch.randn(1, 2), torch.randn(1, 2)
    with once(net):
        assert net(one) is net(one)
        torch.testing.assert_close(net(two)[0], net.weight @ two[0] + net.bias)
    assert 'forward' not in vars(net) and net(one) is not net(one)


@pytest.mark.parametrize(
    'backbone',
    [
        dict(
            type='BEiT',
            img_size=(32, 32),
            embed_dims=8,
            num_layers=1,
            num_heads=2,
            mlp_ratio=2,
            out_indices=[0],
        ),
        LAYERS['mmseg Swin'][0],
        LAYERS['mmpretrain Swin'][0],
    ],
    ids=lambda cfg: cfg['type'],
)
def test_indices_of_positions_are_copied(backbone):
    student, teacher = MODELS.build(backbone), MODELS.build(backbone)
    indices = {
        name: value.clone()
        for name, value in student.named_buffers()
        if not value.is_floating_point()
    }
    assert any('relative_position_index' in name for name in indices)
    start = copy.deepcopy(teacher.state_dict())
    for buffer in teacher.buffers():
        buffer.zero_()
    ema_update_(teacher, student, 0.9)
    for name, value in teacher.named_buffers():
        assert torch.equal(value, indices[name]), name
    for name, param in teacher.named_parameters():
        torch.testing.assert_close(
            param, 0.9 * start[name] + 0.1 * student.state_dict()[name]
        )


def test_pairs_can_be_perturbed_before_the_decoder():
    maps = [torch.randn(2, 16, 4, 4) * (i + 1) for i in range(4)]
    pairs = DPTNeck()(maps)
    for (x, token), raw in zip(pairs, maps):
        torch.testing.assert_close(
            x,
            (raw - raw.mean(1, True)) / raw.std(1, False, keepdim=True),
            rtol=1e-3,
            atol=1e-3,
        )
        torch.testing.assert_close(token, x.mean((2, 3)))
    head = randomized(
        MODELS.build(
            dict(
                type='DPTHead',
                in_channels=[16] * 4,
                in_index=[0, 1, 2, 3],
                input_transform='multiple_select',
                embed_dims=16,
                post_process_channels=[4, 4, 4, 4],
                readout_type='project',
                channels=4,
                num_classes=3,
                norm_cfg=None,
            )
        )
    )
    teacher = copy.deepcopy(head)
    tap, seen = HeadTap(head, 'inputs'), []

    def perturb(feat):
        assert feat.shape == (2, 4 * (16 * 16 + 16))
        torch.testing.assert_close(
            tap.decode(teacher, feat), teacher.forward(pairs)
        )
        seen.append(tap.decode(teacher, feat + 1))
        return torch.ones_like(feat)

    with tap.perturbed(perturb):
        torch.testing.assert_close(head.forward(pairs), seen.pop())


@pytest.mark.parametrize(
    'backbone, size',
    [
        (VIT, 14),
        (LAYERS['mmseg Swin'][0], 1),
        (LAYERS['timm DINOv3'][0], 16),
        (LAYERS['timm EfficientNet'][0], 1),
    ],
)
def test_patches(backbone, size):
    if backbone['type'] == 'TIMMBackbone':
        pytest.importorskip('timm')
    assert patch_size(MODELS.build(backbone)) == size


def test_crops_that_are_no_patches_are_refused():

    class Images(list):
        def get_data_info(self, index):
            return {}

    class Pairs:
        labeled = unlabeled = Images([0])

        def __len__(self):
            return 1

        def __getitem__(self, index):
            return {
                view: dict(inputs=torch.zeros(3, 60, 45))
                for view in ('labeled', 'weak', 'strong')
            }

    def preprocess(data, training):
        return dict(
            inputs={
                view: torch.stack(part['inputs'])
                for view, part in data.items()
            }
        )

    (problem,) = batch_problems(Pairs(), preprocess, True, 14)
    assert '60 x 45' in problem and 'to 56 x 42' in problem
    assert not [*batch_problems(Pairs(), preprocess, True, 15)]


SMALL = {**TINY, 'num_layers': 4}
DINO = {
    'backbone.arch': SMALL,
    'backbone.img_size': 56,
    'backbone.init_cfg': None,
    'backbone.out_indices': [0, 1, 2, 3],
}
FOUR = {'decode_head.in_channels': [48] * 4}
DPT = {
    **DINO,
    **FOUR,
    'decode_head.embed_dims': 48,
    'decode_head.channels': 8,
    'decode_head.post_process_channels': [8] * 4,
}
UPER = {
    'neck.embed_dim': 48,
    **FOUR,
    'decode_head.channels': 8,
    'decode_head.pool_scales': (1, 2),
}
LITE0 = {'backbone.pretrained': False, 'decode_head.channels': 8}
# Shipped config, side of a crop, and what makes its network small.
TRAINED = {
    'dpt_dinov2-s_voc-hq_92': (56, DPT),
    'dpt_dinov2-s-frozen_voc-hq_92': (56, DPT),
    'dpt_dinov2-b_cityscapes_1-8': (
        56,
        {**DPT, 'test_cfg.crop_size': (56, 56), 'test_cfg.stride': (42, 42)},
    ),
    'upernet_dinov2-s_voc-hq_92': (56, {**DINO, **UPER}),
    'segformer_dinov2-s_voc-hq_92': (
        56,
        {**DINO, **FOUR, 'decode_head.channels': 8},
    ),
    'linear_dinov2-s_voc-hq_92': (
        56,
        {
            **DINO,
            'backbone.out_indices': [3],
            'decode_head.in_channels': 48,
            'decode_head.channels': 48,
        },
    ),
    'upernet_dinov3-s_voc-hq_92': (
        64,
        {
            **UPER,
            'backbone.pretrained': False,
            'backbone.embed_dim': 48,
            'backbone.depth': 4,
            'backbone.num_heads': 2,
            'backbone.out_indices': (0, 1, 2, 3),
        },
    ),
    'upernet_swin-t_voc_1-8': (
        64,
        {
            'backbone.init_cfg': None,
            'backbone.embed_dims': 12,
            'backbone.depths': [1, 1, 1, 1],
            'backbone.num_heads': [1, 2, 3, 4],
            'decode_head.in_channels': [12, 24, 48, 96],
            'decode_head.channels': 8,
            'auxiliary_head.in_channels': 48,
            'auxiliary_head.channels': 8,
        },
    ),
    'segformer_mit-b5_voc_1-8': (
        64,
        {
            'backbone.init_cfg': None,
            'backbone.embed_dims': 8,
            'backbone.num_layers': [1, 1, 1, 1],
            'decode_head.channels': 8,
            'decode_head.in_channels': [8, 16, 40, 64],
        },
    ),
    'upernet_convnext-tiny_voc_1-8': (
        64,
        {
            'backbone.arch': dict(
                depths=[1, 1, 1, 1], channels=[8, 16, 24, 32]
            ),
            'backbone.init_cfg': None,
            'decode_head.in_channels': [8, 16, 24, 32],
            'decode_head.channels': 8,
            'auxiliary_head.in_channels': 24,
            'auxiliary_head.channels': 8,
        },
    ),
    'deeplabv3plus_efficientnet-lite0_camvid_1-8': (65, LITE0),
    'deeplabv3plus_efficientnet-lite0_camvid_1-8_supervised': (65, LITE0),
}
TIMM = re.compile('dinov3|lite0')


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """Drawn images, no multiples of a patch, in the trees of the data sets."""
    root = tmp_path_factory.mktemp('data')
    voc = root / 'VOCdevkit/VOC2012'
    fake_shapes(voc, 48, 4, size=72)
    (voc / 'SegmentationClassAug').symlink_to('SegmentationClass')
    (voc / 'ImageSets/Segmentation/semi/hq').mkdir()
    (voc / 'ImageSets/Segmentation/semi/hq/92').symlink_to('../1_8')
    (voc / 'ImageSets/Segmentation/test.txt').symlink_to('val.txt')
    (root / 'camvid11').symlink_to(voc)
    fake_cityscapes(root, 16, 2, size=(128, 64))
    return root


def small(name, data, work_dir):
    crop, net = TRAINED[name]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('PSMT_DATA', str(data))
        cfg = Config.fromfile(CONFIGS / f'{name}.py')
    cfg.merge_from_dict(
        {
            'model.data_preprocessor.size': (crop, crop),
            'train_dataloader.batch_size': 2,
            'train_cfg.max_iters': 3,
            'train_cfg.val_interval': 9,
            'default_hooks.checkpoint.interval': 9,
            'work_dir': str(work_dir),
            'log_level': 'ERROR',
            # or it writes where the first did
            'visualizer.name': str(work_dir),
            # of two that begin in the same second, one has the other's log
            'experiment_name': f'{name}{time.time_ns()}',
            'visualizer.vis_backends': [dict(type='LocalVisBackend')],
        }
    )
    if cfg.model.type == 'PSMT':
        consistency = dict(type='ConfCELoss', threshold=0.0)
        cfg.model.update(warmup_iters=1, consistency=consistency)
    for key, value in net.items():
        *path, last = key.split('.')
        segmentor = cfg.model.get('segmentor', cfg.model)
        reduce(getattr, path, segmentor)[last] = value
    sets = []
    for part in ('train', 'val', 'test'):
        loader = cfg[f'{part}_dataloader']
        loader.update(num_workers=0, persistent_workers=False)
        both = loader.dataset.get('labeled'), loader.dataset.get('unlabeled')
        sets += both if all(both) else [loader.dataset]
    for dataset in sets:
        dataset.serialize_data = False  # collects garbage for a second
        for step in dataset.pipeline:
            if step.type == 'RandomCrop':
                step.crop_size = (crop, crop)
            if step.type == 'RandomResize':
                step.scale = (72, 72)
            if step.type == 'Resize':
                step.scale = (65, 65)
    return cfg


@pytest.mark.parametrize('name', TRAINED)
def test_it_trains_and_tests(name, data, tmp_path, monkeypatch):
    if TIMM.search(name):
        pytest.importorskip('timm')
    # half of the time went into the layout of dumped configs
    monkeypatch.setattr(
        'yapf.yapflib.yapf_api.FormatCode', lambda text, **kwargs: (text, True)
    )
    runner = Runner.from_cfg(small(name, data, tmp_path))
    runner.model.init_weights()
    start = copy.deepcopy(runner.model.state_dict())
    monkeypatch.setattr(runner.model, 'init_weights', lambda: None)
    runner.train()
    assert runner.iter == 3
    moved = {
        key.removeprefix('segmentor.').split('.')[0]
        for key, value in runner.model.state_dict().items()
        if 'teachers' not in key and not torch.equal(value, start[key])
    }
    frozen = getattr(runner.model, 'freeze_backbone', False)
    assert 'decode_head' in moved and ('backbone' in moved) != frozen
    assert 0 <= runner.test()['mIoU'] <= 100


def test_a_crop_of_another_size_stops_the_training(data, tmp_path):
    cfg = small('linear_dinov2-s_voc-hq_92', data, tmp_path)
    cfg.model.data_preprocessor.size = (60, 60)
    with pytest.raises(ValueError, match='60 x 60, which is no multiple'):
        Runner.from_cfg(cfg).train()


@pytest.mark.parametrize(
    'path', sorted(CONFIGS.glob('*dino*.py')), ids=lambda path: path.stem
)
def test_every_config_of_dino_builds(path):
    cfg = Config.fromfile(path, import_custom_modules=False)
    if cfg.model.segmentor.backbone.type == 'TIMMBackbone':
        pytest.importorskip('timm')
        cfg.model.segmentor.backbone.pretrained = False
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    patch = patch_size(model.segmentor.backbone)
    assert patch == (16 if 'dinov3' in path.stem else 14)
    assert all(side % patch == 0 for side in cfg.model.data_preprocessor.size)
    for part in ('labeled', 'unlabeled'):
        assert [
            step.crop_size
            for step in cfg.train_dataloader.dataset[part].pipeline
            if step.type == 'RandomCrop'
        ] == [cfg.model.data_preprocessor.size]
    assert model.segmentor.data_preprocessor.test_cfg == dict(
        size_divisor=patch
    )
    optimizer, keys = (
        cfg.optim_wrapper.optimizer,
        cfg.optim_wrapper['paramwise_cfg']['custom_keys'],
    )
    assert optimizer.lr * keys.backbone.lr_mult == pytest.approx(5e-6)
    assert optimizer.lr == 2e-4 and optimizer.weight_decay == 0.01
    assert cfg.train_dataloader.batch_size * 4 == 16
    assert cfg.auto_scale_lr == dict(enable=True, base_batch_size=16)


CONVNEXT = """
custom_imports = dict(
    imports=['mmpretrain.models', 'mmseg_psmt'], allow_failed_imports=False)
model = dict(
    type='PSMT',
    data_preprocessor=dict(size=(64, 64)),
    consistency=dict(type='ConfCELoss', threshold=0.),
    segmentor=dict(
        type='EncoderDecoder',
        data_preprocessor=dict(type='SegDataPreProcessor'),
        backbone=dict(
            type='mmpretrain.ConvNeXt',
            arch=dict(depths=[1, 1, 2, 1], channels=[8, 16, 24, 32]),
            out_indices=[0, 1, 2, 3],
            drop_path_rate=0.4,
            layer_scale_init_value=1.0,
            gap_before_final_norm=False),
        decode_head=dict(
            type='UPerHead',
            in_channels=[8, 16, 24, 32],
            in_index=[0, 1, 2, 3],
            channels=8,
            pool_scales=(1, 2),
            num_classes=7,
            norm_cfg=dict(type='BN'),
            align_corners=False,
            loss_decode=dict(type='CrossEntropyLoss'))))
"""


def test_a_convnext_learns_and_its_teachers_do_not(tmp_path):
    (tmp_path / 'convnext.py').write_text(CONVNEXT)
    model = MODELS.build(Config.fromfile(tmp_path / 'convnext.py').model)
    model.init_weights()
    model.iter = 0
    test_psmt.total(model, test_psmt.batch(model, size=64)).backward()
    backbone = model.segmentor.backbone
    assert type(backbone).__module__.startswith('mmpretrain.')
    assert all(p.grad is not None for p in model.segmentor.parameters())
    assert backbone.stages[0][0].depthwise_conv.weight.grad.abs().sum() > 0
    assert all(p.grad is None for p in model.teachers.parameters())


def test_the_runner_can_name_its_environment():
    import torchvision

    assert torchvision.__version__ in collect_env()['TorchVision']
