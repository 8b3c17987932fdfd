_base_ = [
    '../_base_/models/deeplabv3plus_mobilenetv2-d16_camvid.py',
    '../_base_/datasets/camvid11-480.py',
    '../_base_/schedules/camvid11-320.py', '../_base_/default_runtime.py'
]
# From supervised-only, which *_continued_supervised.py goes on with.
load_from = ('{{$PSMT_WORK_DIRS:work_dirs}}/deeplabv3plus_mobilenetv2-d16_'
             'camvid-480_1-8_supervised/seed{{$PSMT_SEED:0}}/iter_4000.pth')
model = dict(
    _delete_=True,
    **_base_.psmt.model,
    **{
        **_base_.psmt.paper,
        'one_pass': True  # better on CamVid, see docs/results.md
    },
    segmentor=_base_.model,
    data_preprocessor=dict(size=_base_.crop_size),
    ramp_iters=162)  # 2 passes over 321 unlabelled images at 4
speed = dict(type='SpeedHook', channels_last=True)
custom_hooks = [*_base_.psmt.hooks, speed]
val_evaluator = _base_.psmt.evaluator
test_evaluator = val_evaluator
benchmark = dict(method='PS-MT', data='CamVid 480 x 360, 1/8')
