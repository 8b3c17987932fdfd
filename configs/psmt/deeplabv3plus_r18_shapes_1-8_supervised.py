# Supervised only: the same labelled images, network, views and updates.
_base_ = [
    '../_base_/models/deeplabv3plus_r18-d16.py',
    '../_base_/datasets/shapes.py', '../_base_/schedules/sgd_poly.py',
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
train_cfg = dict(max_iters=800, val_interval=100)
default_hooks = dict(checkpoint=dict(interval=400))
param_scheduler = [
    dict(type='PolyLR', power=0.9, eta_min=0., end=800, by_epoch=False)
]
