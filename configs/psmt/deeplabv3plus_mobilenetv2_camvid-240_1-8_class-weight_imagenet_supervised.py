_base_ = (
    './deeplabv3plus_mobilenetv2_camvid-240_1-8_class-weight_supervised.py')
load_from = None
max_iters = 8000
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(type='PolyLR', power=0.9, eta_min=0., end=max_iters, by_epoch=False)
]
train_cfg = dict(max_iters=max_iters, val_interval=1000)
default_hooks = dict(checkpoint=dict(interval=1000))
benchmark = dict(method='supervised from ImageNet, weighted classes')
