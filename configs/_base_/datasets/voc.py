# Pascal VOC 2012 with the masks of SBD (SegmentationClassAug).
_base_ = ['../psmt.py', './test_pipelines.py']
crop_size = (512, 512)
geometry = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    # long side 300 to 1200
    dict(
        type='RandomResize',
        scale=(600, 600),
        ratio_range=(0.5, 2.0),
        keep_ratio=True,
    ),
    dict(type='RandomCrop', crop_size=crop_size),
    dict(type='RandomFlip', prob=0.5),
]
voc = dict(
    type='PascalVOCDataset', data_root='{{$PSMT_DATA:data}}/VOCdevkit/VOC2012'
)
images = dict(
    **voc,
    data_prefix=dict(
        img_path='JPEGImages', seg_map_path='SegmentationClassAug'
    ),
)
train_dataloader = dict(
    # labeled, and as many unlabeled; 4 GPUs
    batch_size=8 // int('{{$PSMT_ACCUMULATE:1}}'),
    num_workers=4,
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
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        **voc,
        data_prefix=dict(
            img_path='JPEGImages', seg_map_path='SegmentationClass'
        ),
        ann_file='ImageSets/Segmentation/val.txt',
        pipeline=_base_.test_pipeline,
    ),
)
test_dataloader = val_dataloader
