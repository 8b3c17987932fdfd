_base_ = [
    '../_base_/models/deeplabv3plus_mobilenetv2.py',
    '../_base_/datasets/camvid11_labeled.py',
    '../_base_/schedules/camvid11.py',
    '../_base_/default_runtime.py',
]
custom_hooks = _base_.psmt.supervised_hooks
model = dict(data_preprocessor=dict(size=_base_.crop_size))
