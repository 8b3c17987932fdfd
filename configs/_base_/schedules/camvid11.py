_base_ = './sgd_poly.py'
optim_wrapper = dict(optimizer=dict(lr=0.03))
param_scheduler = [
    dict(type='PolyLR', power=0.9, eta_min=0.0, end=2000, by_epoch=False)
]
train_cfg = dict(max_iters=2000, val_interval=1000)
default_hooks = dict(checkpoint=dict(interval=500))
