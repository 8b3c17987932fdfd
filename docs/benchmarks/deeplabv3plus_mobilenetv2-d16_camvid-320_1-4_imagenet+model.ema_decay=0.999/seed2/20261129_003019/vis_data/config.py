benchmark = dict(data='CamVid 320 x 240, 1/4', method='PS-MT, from ImageNet')
commit = 'gca2a5ba'
crop_size = (
    193,
    193,
)
custom_hooks = [
    dict(type='TeacherEMAHook'),
    dict(type='CheckFiniteHook'),
    dict(type='DataCheckHook'),
    dict(type='PseudoLabelVisHook'),
    dict(type='EarlyWarningHook'),
    dict(channels_last=True, type='SpeedHook'),
]
custom_imports = dict(
    allow_failed_imports=False, imports=[
        'mmseg_psmt',
    ])
data_preprocessor = dict(
    bgr_to_rgb=True,
    mean=[
        123.675,
        116.28,
        103.53,
    ],
    pad_val=0,
    seg_pad_val=255,
    std=[
        58.395,
        57.12,
        57.375,
    ],
    type='SegDataPreProcessor')
default_hooks = dict(
    checkpoint=dict(
        by_epoch=False,
        interval=1000,
        max_keep_ckpts=1,
        save_best='mIoU',
        type='ReliableCheckpointHook'),
    logger=dict(interval=50, log_metric_by_epoch=False, type='LoggerHook'),
    param_scheduler=dict(type='ParamSchedulerHook'),
    runtime_info=dict(type='DeferredRuntimeInfoHook'),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    timer=dict(type='IterTimerHook'),
    visualization=dict(type='SegVisualizationHook'))
default_scope = 'mmseg'
env_cfg = dict(
    cudnn_benchmark=True,
    dist_cfg=dict(backend='nccl'),
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0))
geometry = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(
        keep_ratio=True,
        ratio_range=(
            0.75,
            1.5,
        ),
        scale=(
            320,
            240,
        ),
        type='RandomResize'),
    dict(crop_size=(
        193,
        193,
    ), type='RandomCrop'),
    dict(prob=0.5, type='RandomFlip'),
]
images = dict(
    data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClass'),
    data_root='data/camvid11',
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
            [
                128,
                128,
                128,
            ],
            [
                128,
                0,
                0,
            ],
            [
                192,
                192,
                128,
            ],
            [
                128,
                64,
                128,
            ],
            [
                60,
                40,
                222,
            ],
            [
                128,
                128,
                0,
            ],
            [
                192,
                128,
                128,
            ],
            [
                64,
                64,
                128,
            ],
            [
                64,
                0,
                128,
            ],
            [
                64,
                64,
                0,
            ],
            [
                0,
                128,
                192,
            ],
        ]),
    type='BaseSegDataset')
launcher = 'none'
lists = 'ImageSets/Segmentation/semi/1_4'
load_from = None
log_level = 'INFO'
log_processor = dict(by_epoch=False)
max_iters = 8000
model = dict(
    data_preprocessor=dict(size=(
        193,
        193,
    )),
    ema_decay=0.999,
    one_pass=True,
    predict_with=[
        'teachers',
        'student',
    ],
    ramp_iters=162,
    segmentor=dict(
        backbone=dict(
            dilations=(
                1,
                1,
                1,
                1,
                1,
                2,
                2,
            ),
            init_cfg=dict(
                checkpoint='data/weights/mobilenet_v2_in1k.pth',
                type='Pretrained'),
            norm_cfg=dict(requires_grad=True, type='BN'),
            out_indices=(
                1,
                2,
                4,
                6,
            ),
            strides=(
                1,
                2,
                2,
                2,
                1,
                1,
                1,
            ),
            type='MobileNetV2'),
        data_preprocessor=dict(
            bgr_to_rgb=True,
            mean=[
                123.675,
                116.28,
                103.53,
            ],
            pad_val=0,
            seg_pad_val=255,
            std=[
                58.395,
                57.12,
                57.375,
            ],
            type='SegDataPreProcessor'),
        decode_head=dict(
            align_corners=True,
            c1_channels=48,
            c1_in_channels=24,
            channels=128,
            dilations=(
                1,
                3,
                6,
                9,
            ),
            dropout_ratio=0.1,
            in_channels=320,
            in_index=3,
            loss_decode=dict(
                avg_non_ignore=False,
                class_weight=[
                    0.5,
                    0.45,
                    1.98,
                    0.37,
                    1.0,
                    0.66,
                    1.94,
                    2.7,
                    0.84,
                    2.88,
                    4.1,
                ],
                loss_weight=1.0,
                type='CrossEntropyLoss',
                use_sigmoid=False),
            norm_cfg=dict(requires_grad=True, type='BN'),
            num_classes=11,
            type='DepthwiseSeparableASPPHead'),
        pretrained=None,
        test_cfg=dict(mode='whole'),
        train_cfg=dict(),
        type='EncoderDecoder'),
    type='PSMT',
    warmup_iters=2000)
norm_cfg = dict(requires_grad=True, type='BN')
optim_wrapper = dict(
    optimizer=dict(fused=True, lr=0.001, type='AdamW', weight_decay=0.01),
    type='OptimWrapper')
param_scheduler = [
    dict(by_epoch=False, end=8000, eta_min=0.0, power=0.9, type='PolyLR'),
]
psmt = dict(
    checkpoint=dict(type='ReliableCheckpointHook'),
    evaluator=dict(type='TeacherStudentIoUMetric'),
    hooks=[
        dict(type='TeacherEMAHook'),
        dict(type='CheckFiniteHook'),
        dict(type='DataCheckHook'),
        dict(type='PseudoLabelVisHook'),
        dict(type='EarlyWarningHook'),
    ],
    imports=dict(allow_failed_imports=False, imports=[
        'mmseg_psmt',
    ]),
    labeled_views=dict(
        labeled=[
            dict(type='ColorJitter'),
            dict(keep_channels=True, prob=0.2, type='RandomGrayscale'),
            dict(sigma=(
                0.1,
                1.0,
            ), type='RandomGaussianBlur'),
            dict(type='PackSegInputs'),
        ],
        labeled_weak=[
            dict(type='PackSegInputs'),
        ],
        type='MultiView'),
    model=dict(predict_with=[
        'teachers',
        'student',
    ], type='PSMT'),
    sampler=dict(type='PairSampler'),
    unlabeled_views=dict(
        strong=[
            dict(type='ColorJitter'),
            dict(keep_channels=True, prob=0.2, type='RandomGrayscale'),
            dict(sigma=(
                0.1,
                1.0,
            ), type='RandomGaussianBlur'),
            dict(type='PackSegInputs'),
        ],
        type='MultiView',
        weak=[
            dict(type='PackSegInputs'),
        ]))
randomness = dict(seed=2)
resume = True
speed = dict(channels_last=True, type='SpeedHook')
strong = [
    dict(type='ColorJitter'),
    dict(keep_channels=True, prob=0.2, type='RandomGrayscale'),
    dict(sigma=(
        0.1,
        1.0,
    ), type='RandomGaussianBlur'),
    dict(type='PackSegInputs'),
]
test_cfg = dict(type='TestLoop')
test_dataloader = dict(
    batch_size=1,
    dataset=dict(
        ann_file='ImageSets/Segmentation/test.txt',
        data_prefix=dict(
            img_path='JPEGImages', seg_map_path='SegmentationClass'),
        data_root='data/camvid11',
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
                [
                    128,
                    128,
                    128,
                ],
                [
                    128,
                    0,
                    0,
                ],
                [
                    192,
                    192,
                    128,
                ],
                [
                    128,
                    64,
                    128,
                ],
                [
                    60,
                    40,
                    222,
                ],
                [
                    128,
                    128,
                    0,
                ],
                [
                    192,
                    128,
                    128,
                ],
                [
                    64,
                    64,
                    128,
                ],
                [
                    64,
                    0,
                    128,
                ],
                [
                    64,
                    64,
                    0,
                ],
                [
                    0,
                    128,
                    192,
                ],
            ]),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(keep_ratio=True, scale=(
                321,
                241,
            ), type='Resize'),
            dict(type='LoadAnnotations'),
            dict(type='PackSegInputs'),
        ],
        type='BaseSegDataset'),
    num_workers=2,
    persistent_workers=True,
    sampler=dict(shuffle=False, type='DefaultSampler'))
test_evaluator = dict(
    iou_metrics=[
        'mIoU',
    ], type='TeacherStudentIoUMetric')
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(keep_ratio=True, scale=(
        321,
        241,
    ), type='Resize'),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
train_cfg = dict(max_iters=8000, type='IterBasedTrainLoop', val_interval=1000)
train_dataloader = dict(
    batch_size=4,
    dataset=dict(
        labeled=dict(
            ann_file='ImageSets/Segmentation/semi/1_4/labeled.txt',
            data_prefix=dict(
                img_path='JPEGImages', seg_map_path='SegmentationClass'),
            data_root='data/camvid11',
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
                    [
                        128,
                        128,
                        128,
                    ],
                    [
                        128,
                        0,
                        0,
                    ],
                    [
                        192,
                        192,
                        128,
                    ],
                    [
                        128,
                        64,
                        128,
                    ],
                    [
                        60,
                        40,
                        222,
                    ],
                    [
                        128,
                        128,
                        0,
                    ],
                    [
                        192,
                        128,
                        128,
                    ],
                    [
                        64,
                        64,
                        128,
                    ],
                    [
                        64,
                        0,
                        128,
                    ],
                    [
                        64,
                        64,
                        0,
                    ],
                    [
                        0,
                        128,
                        192,
                    ],
                ]),
            pipeline=[
                dict(type='LoadImageFromFile'),
                dict(type='LoadAnnotations'),
                dict(
                    keep_ratio=True,
                    ratio_range=(
                        0.75,
                        1.5,
                    ),
                    scale=(
                        320,
                        240,
                    ),
                    type='RandomResize'),
                dict(crop_size=(
                    193,
                    193,
                ), type='RandomCrop'),
                dict(prob=0.5, type='RandomFlip'),
                dict(
                    labeled=[
                        dict(type='ColorJitter'),
                        dict(
                            keep_channels=True,
                            prob=0.2,
                            type='RandomGrayscale'),
                        dict(sigma=(
                            0.1,
                            1.0,
                        ), type='RandomGaussianBlur'),
                        dict(type='PackSegInputs'),
                    ],
                    labeled_weak=[
                        dict(type='PackSegInputs'),
                    ],
                    type='MultiView'),
            ],
            type='BaseSegDataset'),
        type='SemiSegDataset',
        unlabeled=dict(
            ann_file='ImageSets/Segmentation/semi/1_4/unlabeled.txt',
            data_prefix=dict(
                img_path='JPEGImages', seg_map_path='SegmentationClass'),
            data_root='data/camvid11',
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
                    [
                        128,
                        128,
                        128,
                    ],
                    [
                        128,
                        0,
                        0,
                    ],
                    [
                        192,
                        192,
                        128,
                    ],
                    [
                        128,
                        64,
                        128,
                    ],
                    [
                        60,
                        40,
                        222,
                    ],
                    [
                        128,
                        128,
                        0,
                    ],
                    [
                        192,
                        128,
                        128,
                    ],
                    [
                        64,
                        64,
                        128,
                    ],
                    [
                        64,
                        0,
                        128,
                    ],
                    [
                        64,
                        64,
                        0,
                    ],
                    [
                        0,
                        128,
                        192,
                    ],
                ]),
            pipeline=[
                dict(type='LoadImageFromFile'),
                dict(type='LoadAnnotations'),
                dict(
                    keep_ratio=True,
                    ratio_range=(
                        0.75,
                        1.5,
                    ),
                    scale=(
                        320,
                        240,
                    ),
                    type='RandomResize'),
                dict(crop_size=(
                    193,
                    193,
                ), type='RandomCrop'),
                dict(prob=0.5, type='RandomFlip'),
                dict(
                    strong=[
                        dict(type='ColorJitter'),
                        dict(
                            keep_channels=True,
                            prob=0.2,
                            type='RandomGrayscale'),
                        dict(sigma=(
                            0.1,
                            1.0,
                        ), type='RandomGaussianBlur'),
                        dict(type='PackSegInputs'),
                    ],
                    type='MultiView',
                    weak=[
                        dict(type='PackSegInputs'),
                    ]),
            ],
            type='BaseSegDataset')),
    num_workers=2,
    persistent_workers=True,
    sampler=dict(shuffle=True, type='PairSampler'))
tta_model = dict(type='SegTTAModel')
tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        transforms=[
            [
                dict(keep_ratio=True, scale=(
                    257,
                    193,
                ), type='Resize'),
                dict(keep_ratio=True, scale=(
                    321,
                    241,
                ), type='Resize'),
                dict(keep_ratio=True, scale=(
                    385,
                    289,
                ), type='Resize'),
            ],
            [
                dict(prob=0.0, type='RandomFlip'),
                dict(prob=1.0, type='RandomFlip'),
            ],
            [
                dict(type='LoadAnnotations'),
            ],
            [
                dict(type='PackSegInputs'),
            ],
        ],
        type='TestTimeAug'),
]
val_cfg = dict(type='ValLoop')
val_dataloader = dict(
    batch_size=1,
    dataset=dict(
        ann_file='ImageSets/Segmentation/val.txt',
        data_prefix=dict(
            img_path='JPEGImages', seg_map_path='SegmentationClass'),
        data_root='data/camvid11',
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
                [
                    128,
                    128,
                    128,
                ],
                [
                    128,
                    0,
                    0,
                ],
                [
                    192,
                    192,
                    128,
                ],
                [
                    128,
                    64,
                    128,
                ],
                [
                    60,
                    40,
                    222,
                ],
                [
                    128,
                    128,
                    0,
                ],
                [
                    192,
                    128,
                    128,
                ],
                [
                    64,
                    64,
                    128,
                ],
                [
                    64,
                    0,
                    128,
                ],
                [
                    64,
                    64,
                    0,
                ],
                [
                    0,
                    128,
                    192,
                ],
            ]),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(keep_ratio=True, scale=(
                321,
                241,
            ), type='Resize'),
            dict(type='LoadAnnotations'),
            dict(type='PackSegInputs'),
        ],
        type='BaseSegDataset'),
    num_workers=2,
    persistent_workers=True,
    sampler=dict(shuffle=False, type='DefaultSampler'))
val_evaluator = dict(
    iou_metrics=[
        'mIoU',
    ], type='TeacherStudentIoUMetric')
vis_backends = [
    dict(type='LocalVisBackend'),
    dict(type='TensorboardVisBackend'),
]
visualizer = dict(
    name='visualizer',
    type='SegLocalVisualizer',
    vis_backends=[
        dict(type='LocalVisBackend'),
        dict(type='TensorboardVisBackend'),
    ])
work_dir = 'work_dirs/deeplabv3plus_mobilenetv2-d16_camvid-320_1-4_imagenet+model.ema_decay=0.999/seed2'
