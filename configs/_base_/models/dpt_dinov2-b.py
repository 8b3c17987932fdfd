_base_ = './dpt_dinov2-s.py'
checkpoint = 'https://download.openmmlab.com/mmpretrain/v1.0/dinov2/vit-base-p14_dinov2-pre_3rdparty_20230426-ba246503.pth'  # noqa: E501
model = dict(
    backbone=dict(arch='base', init_cfg=dict(checkpoint=checkpoint)),
    decode_head=dict(
        in_channels=[768, 768, 768, 768],
        embed_dims=768,
        post_process_channels=[96, 192, 384, 768],
        channels=128,
    ),
)
