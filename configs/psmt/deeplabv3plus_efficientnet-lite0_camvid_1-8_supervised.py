_base_ = [
    '../_base_/models/deeplabv3plus_efficientnet-lite0-d16.py',
    '../_base_/datasets/camvid11_320_labeled.py',
    '../_base_/schedules/camvid11_320.py',
    '../_base_/default_runtime.py',
]
custom_hooks = _base_.psmt.supervised_hooks
model = dict(
    data_preprocessor=dict(size=_base_.crop_size),
    decode_head=dict(num_classes=11),
)
benchmark = dict(method='supervised', data='camvid')
