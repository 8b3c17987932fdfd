# CamVid at 320 x 240, tested on its test images.
_base_ = './camvid11.py'
crop_size = (193, 193)
geometry = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(
        type='RandomResize',
        scale=(320, 240),
        ratio_range=(0.5, 2.0),
        keep_ratio=True,
    ),
    dict(type='RandomCrop', crop_size=crop_size),
    dict(type='RandomFlip', prob=0.5),
]
train_dataloader = dict(
    dataset=dict(
        labeled=dict(pipeline=[*geometry, _base_.psmt.labeled_views]),
        unlabeled=dict(pipeline=[*geometry, _base_.psmt.unlabeled_views]),
    )
)
# At stride 16 with align_corners, sides of 16 k + 1.
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(321, 241), keep_ratio=True),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(
    dataset=dict(
        ann_file='ImageSets/Segmentation/test.txt', pipeline=test_pipeline
    )
)
tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='TestTimeAug',
        transforms=[
            [
                dict(type='Resize', scale=size, keep_ratio=True)
                for size in ((257, 193), (321, 241), (385, 289), (449, 337))
            ],
            *_base_.tta_pipeline[1].transforms[1:],
        ],
    ),
]
