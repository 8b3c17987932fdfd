# Textured shapes, 64 x 64, drawn by tools/make_shapes.py.
crop_size = (64, 64)
geometry = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomFlip', prob=0.5),
]
strong = [
    dict(type='ColorJitter'),
    dict(type='RandomGrayscale', prob=0.2, keep_channels=True),
    dict(type='RandomGaussianBlur'),
    dict(type='PackSegInputs'),
]
weak = [dict(type='PackSegInputs')]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='TestTimeAug',
        transforms=[[
            dict(type='Resize', scale_factor=r, keep_ratio=True)
            for r in (0.75, 1.0, 1.25, 1.5)
        ],
                    [
                        dict(type='RandomFlip', prob=0.),
                        dict(type='RandomFlip', prob=1.)
                    ], [dict(type='LoadAnnotations')],
                    [dict(type='PackSegInputs')]])
]
images = dict(
    type='BaseSegDataset',
    data_root='{{$PSMT_DATA:data}}/shapes',
    data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClass'),
    metainfo=dict(
        classes=('background', 'disc', 'square', 'triangle', 'ring', 'cross'),
        palette=[[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0],
                 [0, 0, 128], [128, 0, 128]]))
train_dataloader = dict(
    batch_size=8,  # labelled, and as many unlabelled
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='PairSampler', shuffle=True),
    dataset=dict(
        type='SemiSegDataset',
        labeled=dict(
            **images,
            ann_file='ImageSets/Segmentation/semi/1_8/labeled.txt',
            pipeline=[
                *geometry,
                dict(type='MultiView', labeled=strong, labeled_weak=weak)
            ]),
        # The masks of unlabelled images are read for the log only; without
        # LoadAnnotations none are needed.
        unlabeled=dict(
            **images,
            ann_file='ImageSets/Segmentation/semi/1_8/unlabeled.txt',
            pipeline=[
                *geometry,
                dict(type='MultiView', weak=weak, strong=strong)
            ])))
val_dataloader = dict(
    batch_size=1,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        **images,
        ann_file='ImageSets/Segmentation/val.txt',
        pipeline=test_pipeline))
test_dataloader = val_dataloader
