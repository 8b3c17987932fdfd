# EfficientNet-Lite0 of timm at output stride 16; it wants 127.5 as mean and
# deviation. timm downloads the weights, unless the environment variable
# PSMT_LITE0_WEIGHTS names a file that has them.
_base_ = './deeplabv3plus_r50-d16.py'
lite0_weights = '{{$PSMT_LITE0_WEIGHTS:timm}}'
norm_cfg = dict(type='BN', requires_grad=True)
model = dict(
    pretrained=None,
    data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3),
    backbone=dict(
        _delete_=True,
        type='TIMMBackbone',
        model_name='tf_efficientnet_lite0',
        pretrained=lite0_weights == 'timm',
        checkpoint_path=lite0_weights.removeprefix('timm'),
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
