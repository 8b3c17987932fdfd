# Supervised only: the same labelled images, network, views and updates.
_base_ = [
    '../_base_/models/deeplabv3plus_r18-d16.py',
    '../_base_/datasets/shapes.py', '../_base_/schedules/shapes.py',
    '../_base_/default_runtime.py'
]
model = dict(data_preprocessor=dict(size=_base_.crop_size))
train_dataloader = dict(
    sampler=dict(_delete_=True, type='InfiniteSampler'),
    dataset=dict(
        _delete_=True,
        **{
            **_base_.train_dataloader.dataset.labeled, 'pipeline':
            [*_base_.geometry, *_base_.strong]
        }))
