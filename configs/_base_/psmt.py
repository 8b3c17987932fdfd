# What PS-MT adds to a config of mmseg, under one name of its own:
# _base_ = ['my_config.py', '.../configs/_base_/psmt.py'], see
# docs/custom_data.md.
weak = [dict(type='PackSegInputs')]
strong = [
    dict(type='ColorJitter'),
    dict(
        type='RandomGrayscale',
        prob=0.2,
        keep_channels=True,
        channel_weights=(0.114, 0.587, 0.299),
    ),  # luminance of B, G, R
    dict(type='RandomGaussianBlur'),
    dict(type='PackSegInputs'),
]
views = dict(type='MultiView', weak=weak, strong=strong)
psmt = dict(
    imports=dict(imports=['mmseg_psmt'], allow_failed_imports=False),
    model=dict(
        type='PSMT',
        predict_with=['teachers', 'student'],
        decode_head=dict(type='segmentor'),
    ),  # get_flops.py of mmseg asks
    # Constants of the paper and its released code, where the defaults that
    # serve short trainings on a user's own data are others.
    paper=dict(
        teachers=dict(init='independent', decay=0.996, topk=7),
        tvat=dict(type='TVAT', xi=0.1, eps=2.0, num_iters=1),
        tvat_with='teachers',
        consistency=dict(
            type='ConfCELoss', threshold=0.6, reduction='kept', per_class=False
        ),
        one_pass=False,
    ),
    hooks=[
        dict(type='TeacherEMAHook'),
        dict(type='CheckFiniteHook'),
        dict(type='DataCheckHook'),
        dict(type='PseudoLabelVisHook'),
        dict(type='EarlyWarningHook'),
        dict(type='SummaryHook'),
        dict(type='PreemptionHook'),
    ],
    supervised_hooks=[dict(type='PreemptionHook')],
    checkpoint=dict(type='ReliableCheckpointHook'),
    evaluator=dict(type='TeacherStudentIoUMetric'),
    sampler=dict(type='PairSampler'),
    labeled_views=dict(type='MultiView', labeled=strong, labeled_weak=weak),
    unlabeled_views=views,
    photos=dict(
        type='UnlabeledFolder',
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='RandomCrop', crop_size=None),  # set it
            dict(type='RandomFlip', prob=0.5),
            views,
        ],
    ),
)
del weak, strong, views  # a config may have such names
