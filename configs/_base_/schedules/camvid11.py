_base_ = './sgd_poly.py'
optim_wrapper = dict(optimizer=dict(lr=0.03))
param_scheduler = [
    dict(type='PolyLR', power=0.9, eta_min=0.0, end=800, by_epoch=False)
]
train_cfg = dict(max_iters=800, val_interval=400)
default_hooks = dict(checkpoint=dict(interval=200))
