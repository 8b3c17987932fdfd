_base_ = (
    './deeplabv3plus_mobilenetv2_camvid-240_1-8_class-weight_supervised.py')
load_from = ('{{$PSMT_WORK_DIRS:work_dirs}}/deeplabv3plus_mobilenetv2_'
             'camvid-240_1-8_class-weight_imagenet_supervised/'
             'seed{{$PSMT_SEED:0}}/iter_8000.pth')
max_iters = 4000
optim_wrapper = dict(optimizer=dict(lr=5e-4))
param_scheduler = [
    dict(type='PolyLR', power=0.9, eta_min=0., end=max_iters, by_epoch=False)
]
train_cfg = dict(max_iters=max_iters, val_interval=1000)
default_hooks = dict(checkpoint=dict(interval=1000))
benchmark = dict(method='supervised, continued')
