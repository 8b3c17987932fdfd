# A small network (half the width) that trains on a CPU in minutes, from random
# weights.
_base_ = './deeplabv3plus_r50-d16.py'
norm_cfg = dict(type='BN', requires_grad=True)
model = dict(
    pretrained=None,
    backbone=dict(
        depth=18, base_channels=32, multi_grid=None, norm_cfg=norm_cfg
    ),
    decode_head=dict(
        in_channels=256,
        channels=64,
        c1_in_channels=32,
        c1_channels=24,
        num_classes=6,
        norm_cfg=norm_cfg,
    ),
)
