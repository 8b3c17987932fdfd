_base_ = [
    '../_base_/models/deeplabv3plus_mobilenetv2.py',
    '../_base_/datasets/camvid11-240.py',
    '../_base_/schedules/camvid11-240.py', '../_base_/default_runtime.py'
]
# A warm-up that all methods share is trained once.
load_from = ('{{$PSMT_WORK_DIRS:work_dirs}}/deeplabv3plus_mobilenetv2_'
             'camvid-240_1-8_warmup/seed{{$PSMT_SEED:0}}/iter_20000.pth')
model = dict(
    _delete_=True,
    **_base_.psmt.model,
    **{
        **_base_.psmt.paper,
        'ema_decay': 0.99  # the schedule is short
    },
    segmentor=_base_.model,
    data_preprocessor=dict(size=_base_.crop_size),
    unsup_weight=0.5,  # docs/fidelity.md compares it with 1.5
    ramp_iters=162)  # 2 passes over 321 unlabelled images at 4
speed = dict(type='SpeedHook', channels_last=True)
custom_hooks = [*_base_.psmt.hooks, speed]
val_evaluator = _base_.psmt.evaluator
test_evaluator = val_evaluator
benchmark = dict(method='PS-MT', data='CamVid 240 x 180, 1/8')
