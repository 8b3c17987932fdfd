# What all methods do after the same supervised warm-up.
_base_ = './sgd_poly.py'
max_iters = 1600  # 20 passes over 321 unlabelled images at 4
optim_wrapper = dict(
    optimizer=dict(
        _delete_=True, type='AdamW', lr=3e-4, weight_decay=0.01, fused=True))
param_scheduler = [
    dict(type='PolyLR', power=0.9, eta_min=0., end=max_iters, by_epoch=False)
]
train_cfg = dict(max_iters=max_iters, val_interval=400)
default_hooks = dict(checkpoint=dict(interval=400))
