# DINOv2-S of mmpretrain with a pyramid and UPerHead. arch='small' would be
# another network, and without LayerScale the weights mean nothing. Whole
# images are padded to full patches in a test, training crops are multiples.
_base_ = './deeplabv3plus_r50-d16.py'
checkpoint = 'https://download.openmmlab.com/mmpretrain/v1.0/dinov2/vit-small-p14_dinov2-pre_3rdparty_20230426-5641ca5a.pth'  # noqa: E501
model = dict(
    pretrained=None,
    data_preprocessor=dict(test_cfg=dict(size_divisor=14)),
    backbone=dict(
        _delete_=True,
        type='mmpretrain.VisionTransformer',
        arch='dinov2-small',
        img_size=518,
        patch_size=14,
        layer_scale_init_value=1e-5,
        out_type='featmap',
        out_indices=[2, 5, 8, 11],
        init_cfg=dict(
            type='Pretrained', checkpoint=checkpoint, prefix='backbone.'
        ),
    ),
    neck=dict(type='Feature2Pyramid', embed_dim=384, norm_cfg=_base_.norm_cfg),
    decode_head=dict(
        _delete_=True,
        type='UPerHead',
        in_channels=[384, 384, 384, 384],
        in_index=[0, 1, 2, 3],
        pool_scales=(1, 2, 3, 6),
        channels=128,
        dropout_ratio=0.1,
        num_classes=21,
        norm_cfg=_base_.norm_cfg,
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True),
    ),
)
