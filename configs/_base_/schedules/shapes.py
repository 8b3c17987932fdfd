# Some minutes on two CPU cores; from random weights 0.1 learns fastest.
_base_ = './sgd_poly.py'
optim_wrapper = dict(optimizer=dict(lr=0.1))
param_scheduler = [
    dict(type='PolyLR', power=0.9, eta_min=0.0, end=1000, by_epoch=False)
]
train_cfg = dict(max_iters=1000, val_interval=200)
default_hooks = dict(checkpoint=dict(interval=200))
