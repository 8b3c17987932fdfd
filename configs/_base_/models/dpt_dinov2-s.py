# DINOv2-S and the decoder of UniMatch V2: every tap normalized, no class token
# (readout_type='ignore'), no norm in the fusion.
_base_ = './upernet_dinov2-s.py'
model = dict(
    neck=dict(_delete_=True, type='DPTNeck'),
    decode_head=dict(
        _delete_=True,
        type='DPTHead',
        in_channels=[384, 384, 384, 384],
        in_index=[0, 1, 2, 3],
        input_transform='multiple_select',
        embed_dims=384,
        post_process_channels=[48, 96, 192, 384],
        readout_type='ignore',
        patch_size=14,
        channels=64,
        dropout_ratio=0.0,
        num_classes=21,
        norm_cfg=None,
        align_corners=True,
        loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True),
    ),
)
