_base_ = './deeplabv3plus_mobilenetv2-d16_camvid-320_1-8.py'
# From ImageNet in one schedule, the first quarter supervised.
load_from = None
max_iters = 8000
model = dict(warmup_iters=2000)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(type='PolyLR', power=0.9, eta_min=0., end=max_iters, by_epoch=False)
]
train_cfg = dict(max_iters=max_iters)
benchmark = dict(method='PS-MT, from ImageNet')
