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
strong = [
    dict(type='ColorJitter'),
    dict(type='RandomGrayscale', prob=0.2, keep_channels=True),
    dict(type='RandomGaussianBlur', sigma=(0.1, 1.0)),  # half, as the images
    dict(type='PackSegInputs'),
]
psmt = dict(
    labeled_views=dict(labeled=strong), unlabeled_views=dict(strong=strong))
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(257, 193), keep_ratio=True),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='TestTimeAug',
        transforms=[
            [
                dict(type='Resize', scale=size, keep_ratio=True)
                for size in ((129, 97), (257, 193), (385, 289))
            ], *_base_.tta_pipeline[1].transforms[1:]
        ])
]
train_dataloader = dict(
    dataset=dict(
        labeled=dict(pipeline=[
            *geometry, {
                **_base_.psmt.labeled_views, 'labeled': strong
            }
        ]),
        unlabeled=dict(pipeline=[
            *geometry, {
                **_base_.psmt.unlabeled_views, 'strong': strong
            }
        ])))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(
    dataset=dict(
        ann_file='ImageSets/Segmentation/test.txt', pipeline=test_pipeline))
