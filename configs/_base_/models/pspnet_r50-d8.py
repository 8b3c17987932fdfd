_base_ = './deeplabv3plus_r50-d16.py'
norm_cfg = _base_.norm_cfg
loss = dict(type='CrossEntropyLoss', avg_non_ignore=True)
model = dict(
    backbone=dict(
        dilations=(1, 1, 2, 4), strides=(1, 2, 1, 1), multi_grid=None
    ),
    decode_head=dict(
        _delete_=True,
        type='PSPHead',
        in_channels=2048,
        in_index=3,
        channels=512,
        pool_scales=(1, 2, 3, 6),
        dropout_ratio=0.1,
        num_classes=21,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(**loss, loss_weight=1.0),
    ),
    auxiliary_head=dict(
        type='FCNHead',
        in_channels=1024,
        in_index=2,
        channels=256,
        num_convs=1,
        concat_input=False,
        dropout_ratio=0.1,
        num_classes=21,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(**loss, loss_weight=0.4),
    ),
)
