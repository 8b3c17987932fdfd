# 115 iterations of warm-up and 80 passes over 321 unlabeled images at 4.
_base_ = './sgd_poly.py'
param_scheduler = [
    dict(type='PolyLR', power=0.9, eta_min=0.0, end=6595, by_epoch=False)
]
train_cfg = dict(max_iters=6595, val_interval=600)
default_hooks = dict(checkpoint=dict(interval=600))
