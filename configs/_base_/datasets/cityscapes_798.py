# Crops of 798, a multiple of DINOv2's patches of 14.
_base_ = './cityscapes.py'
crop_size = (798, 798)
geometry = [
    *_base_.geometry[:3],
    dict(type='RandomCrop', crop_size=crop_size),
    *_base_.geometry[4:],
]
train_dataloader = dict(
    dataset=dict(
        labeled=dict(pipeline=[*geometry, _base_.psmt.labeled_views]),
        unlabeled=dict(pipeline=[*geometry, _base_.psmt.unlabeled_views]),
    )
)
