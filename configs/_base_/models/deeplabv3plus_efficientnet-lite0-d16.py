# EfficientNet-Lite0 of timm at output stride 16; it wants 127.5 as mean and
# deviation. Without a network set backbone.pretrained=False and
# backbone.checkpoint_path to a file with its weights.
_base_ = './deeplabv3plus_r50-d16.py'
norm_cfg = dict(type='BN', requires_grad=True)
model = dict(
    pretrained=None,
    data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3),
    backbone=dict(
        _delete_=True,
        type='TIMMBackbone',
        model_name='tf_efficientnet_lite0',
        pretrained=True,
        features_only=True,
        output_stride=16,
        out_indices=(1, 2, 3, 4),
    ),
    decode_head=dict(
        in_channels=320,
        channels=128,
        c1_in_channels=24,
        c1_channels=24,
        norm_cfg=norm_cfg,
    ),
)
