# Textured shapes, 64 x 64, drawn by tools/dataset_converters/make_shapes.py.
_base_ = ['../psmt.py', './test_pipelines.py']
crop_size = (64, 64)
geometry = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomFlip', prob=0.5),
]
images = dict(
    type='BaseSegDataset',
    data_root='{{$PSMT_DATA:data}}/shapes',
    data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClass'),
    metainfo=dict(
        classes=('background', 'disc', 'square', 'triangle', 'ring', 'cross'),
        palette=[
            [0, 0, 0],
            [128, 0, 0],
            [0, 128, 0],
            [128, 128, 0],
            [0, 0, 128],
            [128, 0, 128],
        ],
    ),
)
train_dataloader = dict(
    batch_size=8,  # labeled, and as many unlabeled
    num_workers=1,
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
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        **images,
        ann_file='ImageSets/Segmentation/val.txt',
        pipeline=_base_.test_pipeline,
    ),
)
test_dataloader = val_dataloader
