_base_ = './deeplabv3plus_r50_cityscapes_1-8.py'
model = {
    '_delete_': True,
    **_base_.model.segmentor,
    'data_preprocessor': {
        **_base_.model.segmentor.data_preprocessor,
        **_base_.model.data_preprocessor,
    },
}
train_dataloader = dict(
    sampler=dict(_delete_=True, type='InfiniteSampler'),
    dataset={
        '_delete_': True,
        **_base_.train_dataloader.dataset.labeled,
        'pipeline': [*_base_.geometry, *_base_.psmt.labeled_views.labeled],
    },
)
custom_hooks = _base_.psmt.supervised_hooks
benchmark = dict(method='supervised', published=None)
