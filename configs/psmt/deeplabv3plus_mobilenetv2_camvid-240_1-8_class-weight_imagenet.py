_base_ = './deeplabv3plus_mobilenetv2_camvid-240_1-8_class-weight.py'
# From ImageNet, without a warm-up that all methods share.
load_from = None
max_iters = 8000
model = dict(
    ema_decay=0.996,
    warmup_iters=2000,  # 174 passes over 46 labelled images at 4
    ramp_iters=972,  # 12 passes over 321 unlabelled images at 4
    unsup_weight=1.)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(type='PolyLR', power=0.9, eta_min=0., end=max_iters, by_epoch=False)
]
train_cfg = dict(max_iters=max_iters, val_interval=1000)
default_hooks = dict(checkpoint=dict(interval=1000))
benchmark = dict(method='PS-MT from ImageNet, weighted classes')
