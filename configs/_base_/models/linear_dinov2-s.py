# A linear probe: one matrix behind the last tap, which the backbone's own norm
# has normalized. The others are not.
_base_ = './upernet_dinov2-s.py'
model = dict(
    backbone=dict(out_indices=[11]),
    neck=None,
    decode_head=dict(
        _delete_=True,
        type='FCNHead',
        num_convs=0,
        concat_input=False,
        in_channels=384,
        in_index=0,
        channels=384,
        dropout_ratio=0.0,
        num_classes=21,
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True),
    ),
)
