# CamVid, 11 classes, at 320 x 240, in VOC layout.
_base_ = ['../psmt.py', './test_pipelines.py']
crop_size = (161, 161)
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
# With align_corners at stride 16, sides of 16 k + 1 keep the features of the
# last stage above the pixels that they were computed from.
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(321, 241), keep_ratio=True),
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
                for size in ((257, 193), (321, 241), (385, 289), (449, 337))
            ],
            *_base_.tta_pipeline[1].transforms[1:],
        ],
    ),
]
images = dict(
    type='BaseSegDataset',
    data_root='{{$PSMT_DATA:data}}/camvid11',
    data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClass'),
    metainfo=dict(
        classes=(
            'sky',
            'building',
            'pole',
            'road',
            'pavement',
            'tree',
            'signsymbol',
            'fence',
            'car',
            'pedestrian',
            'bicyclist',
        ),
        palette=[
            [128, 128, 128],
            [128, 0, 0],
            [192, 192, 128],
            [128, 64, 128],
            [60, 40, 222],
            [128, 128, 0],
            [192, 128, 128],
            [64, 64, 128],
            [64, 0, 128],
            [64, 64, 0],
            [0, 128, 192],
        ],
    ),
)
train_dataloader = dict(
    batch_size=4,  # labeled, and as many unlabeled
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='PairSampler', shuffle=True),
    dataset=dict(
        type='SemiSegDataset',
        labeled=dict(
            **images,
            ann_file='ImageSets/Segmentation/semi/1_8/labeled.txt',
            pipeline=[*geometry, _base_.psmt.labeled_views],
        ),
        # The masks of unlabeled images are read for the log only; without
        # LoadAnnotations none are needed.
        unlabeled=dict(
            **images,
            ann_file='ImageSets/Segmentation/semi/1_8/unlabeled.txt',
            pipeline=[*geometry, _base_.psmt.unlabeled_views],
        ),
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        **images,
        ann_file='ImageSets/Segmentation/val.txt',
        pipeline=test_pipeline,
    ),
)
test_dataloader = dict(
    val_dataloader,
    dataset=dict(
        val_dataloader['dataset'], ann_file='ImageSets/Segmentation/test.txt'
    ),
)
