# CamVid at half its size, so that two CPU cores train it in minutes. The
# predictions are enlarged again and measured at 480 x 360.
_base_ = './camvid11.py'
crop_size = (129, 129)
geometry = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(
        type='RandomResize',
        scale=(240, 180),
        ratio_range=(0.75, 1.5),
        keep_ratio=True),
    dict(type='RandomCrop', crop_size=crop_size),
    dict(type='RandomFlip', prob=0.5),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(240, 180), keep_ratio=True),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(
    dataset=dict(
        labeled=dict(pipeline=[*geometry, _base_.psmt.labeled_views]),
        unlabeled=dict(pipeline=[*geometry, _base_.psmt.unlabeled_views])))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(
    dataset=dict(
        ann_file='ImageSets/Segmentation/test.txt', pipeline=test_pipeline))
