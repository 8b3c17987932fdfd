# Cityscapes, fine annotations, 2048 x 1024.
_base_ = ['../psmt.py', './test_pipelines.py']
crop_size = (720, 720)
geometry = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(
        type='RandomResize',
        scale=(2048, 1024),
        ratio_range=(0.5, 2.0),
        keep_ratio=True,
    ),
    dict(type='RandomCrop', crop_size=crop_size),
    dict(type='RandomFlip', prob=0.5),
]
cityscapes = dict(
    type='CityscapesDataset', data_root='{{$PSMT_DATA:data}}/cityscapes'
)
images = dict(
    **cityscapes,
    data_prefix=dict(
        img_path='leftImg8bit/train', seg_map_path='gtFine/train'
    ),
)
train_dataloader = dict(
    # labeled, and as many unlabeled; 2 GPUs
    batch_size=4 // int('{{$PSMT_ACCUMULATE:1}}'),
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='PairSampler', shuffle=True),
    dataset=dict(
        type='SemiSegDataset',
        labeled=dict(
            **images,
            ann_file='semi/1_8/labeled.txt',
            pipeline=[*geometry, _base_.psmt.labeled_views],
        ),
        # The masks of unlabeled images are read for the log only; without
        # LoadAnnotations none are needed.
        unlabeled=dict(
            **images,
            ann_file='semi/1_8/unlabeled.txt',
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
        **cityscapes,
        data_prefix=dict(
            img_path='leftImg8bit/val', seg_map_path='gtFine/val'
        ),
        pipeline=_base_.test_pipeline,
    ),
)
test_dataloader = val_dataloader
