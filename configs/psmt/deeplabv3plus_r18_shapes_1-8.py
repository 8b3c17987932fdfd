_base_ = [
    '../_base_/models/deeplabv3plus_r18-d16.py',
    '../_base_/datasets/shapes.py', '../_base_/schedules/sgd_poly.py',
    '../_base_/psmt_runtime.py'
]
model = dict(
    _delete_=True,
    type='PSMT',
    segmentor=_base_.model,
    data_preprocessor=dict(size=_base_.crop_size),
    warmup_iters=200,
    ema_decay=0.99,
    unsup_weight=1.5,
    ramp_iters=200,
    predict_with=['teachers', 'student'])
train_cfg = dict(max_iters=800, val_interval=100)
default_hooks = dict(checkpoint=dict(interval=400))
param_scheduler = [
    dict(type='PolyLR', power=0.9, eta_min=0., end=800, by_epoch=False)
]
