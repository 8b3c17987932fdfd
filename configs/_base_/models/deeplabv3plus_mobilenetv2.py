# mmseg's MobileNetV2 at its native output stride 32.
_base_ = './deeplabv3plus_r50-d16.py'
norm_cfg = dict(type='BN', requires_grad=True)
model = dict(
    pretrained=None,
    backbone=dict(
        _delete_=True,
        type='MobileNetV2',
        out_indices=(1, 2, 4, 6),
        norm_cfg=norm_cfg,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='{{$PSMT_DATA:data}}/weights/mobilenet_v2_in1k.pth',
        ),
    ),
    decode_head=dict(
        in_channels=320,
        channels=128,
        dilations=(1, 3, 6, 9),
        c1_in_channels=24,
        c1_channels=48,
        num_classes=11,
        norm_cfg=norm_cfg,
    ),
)
