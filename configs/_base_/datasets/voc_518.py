# Crops of 518, a multiple of DINOv2's patches of 14; long side 250 to 1000.
_base_ = './voc.py'
crop_size = (518, 518)
geometry = [
    *_base_.geometry[:2],
    dict(
        type='RandomResize',
        scale=(500, 500),
        ratio_range=(0.5, 2.0),
        keep_ratio=True,
    ),
    dict(type='RandomCrop', crop_size=crop_size),
    *_base_.geometry[4:],
]
train_dataloader = dict(
    # labeled, and as many unlabeled; 4 GPUs
    batch_size=4 // int('{{$PSMT_ACCUMULATE:1}}'),
    dataset=dict(
        labeled=dict(pipeline=[*geometry, _base_.psmt.labeled_views]),
        unlabeled=dict(pipeline=[*geometry, _base_.psmt.unlabeled_views]),
    ),
)
