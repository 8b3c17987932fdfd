_base_ = [
    '../_base_/models/deeplabv3plus_r18-d16.py',
    '../_base_/datasets/shapes_labeled.py',
    '../_base_/schedules/shapes.py',
    '../_base_/default_runtime.py',
]
custom_hooks = _base_.psmt.supervised_hooks
model = dict(data_preprocessor=dict(size=_base_.crop_size))
benchmark = dict(method='supervised', data='shapes')
