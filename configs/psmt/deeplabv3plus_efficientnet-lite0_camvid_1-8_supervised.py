_base_ = [
    '../_base_/models/deeplabv3plus_efficientnet-lite0-d16.py',
    '../_base_/datasets/camvid11.py',
    '../_base_/schedules/camvid11.py',
    '../_base_/default_runtime.py',
]
# The labeled images alone, strong views as in the semi-supervised training.
train_dataloader = dict(
    sampler=dict(_delete_=True, type='InfiniteSampler'),
    dataset={
        '_delete_': True,
        **_base_.train_dataloader.dataset.labeled,
        'pipeline': [*_base_.geometry, *_base_.psmt.labeled_views.labeled],
    },
)
custom_hooks = _base_.psmt.supervised_hooks
model = dict(
    data_preprocessor=dict(size=_base_.crop_size),
    decode_head=dict(num_classes=11),
)
benchmark = dict(method='supervised', data='camvid')
