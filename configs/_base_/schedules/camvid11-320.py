# From ImageNet, and again from there.
_base_ = './camvid11-240.py'
max_iters = 4000  # 50 passes over 321 unlabelled images at 4
optim_wrapper = dict(optimizer=dict(lr=5e-4))
param_scheduler = [
    dict(type='PolyLR', power=0.9, eta_min=0., end=max_iters, by_epoch=False)
]
train_cfg = dict(max_iters=max_iters, val_interval=1000)
default_hooks = dict(checkpoint=dict(interval=1000))
