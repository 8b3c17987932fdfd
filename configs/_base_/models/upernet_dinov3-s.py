# DINOv3-S of timm, which downloads its weights; patches of 16 and no embedding
# of positions, so that any multiple of 16 is a size. No tap is normalized.
# Without a network: backbone.pretrained_cfg_overlay=dict(file=...).
_base_ = './upernet_dinov2-s.py'
model = dict(
    data_preprocessor=dict(test_cfg=dict(size_divisor=16)),
    backbone=dict(
        _delete_=True,
        type='TIMMBackbone',
        model_name='vit_small_patch16_dinov3.lvd1689m',
        pretrained=True,
        features_only=True,
        out_indices=(2, 5, 8, 11),
    ),
)
