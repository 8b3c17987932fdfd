# The labeled images alone, strong views as in the semi-supervised training.
_base_ = './camvid11_320.py'
train_dataloader = dict(
    sampler=dict(_delete_=True, type='InfiniteSampler'),
    dataset={
        '_delete_': True,
        **_base_.train_dataloader.dataset.labeled,
        'pipeline': [*_base_.geometry, *_base_.psmt.labeled_views.labeled],
    },
)
