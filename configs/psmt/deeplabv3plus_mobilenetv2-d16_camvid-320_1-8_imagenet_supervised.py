_base_ = './deeplabv3plus_mobilenetv2-d16_camvid-320_1-8_supervised.py'
# As many iterations in one schedule as *_imagenet.py.
max_iters = 8000
param_scheduler = [
    dict(type='PolyLR', power=0.9, eta_min=0., end=max_iters, by_epoch=False)
]
train_cfg = dict(max_iters=max_iters)
benchmark = dict(method='supervised, from ImageNet, 8,000')
