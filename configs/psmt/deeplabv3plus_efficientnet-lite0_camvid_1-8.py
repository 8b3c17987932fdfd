# The defaults of PS-MT; needs timm.
_base_ = [
    '../_base_/models/deeplabv3plus_efficientnet-lite0-d16.py',
    '../_base_/datasets/camvid11.py',
    '../_base_/schedules/camvid11.py',
    '../_base_/default_runtime.py',
]
model = dict(
    _delete_=True,
    **_base_.psmt.model,
    segmentor=dict(
        _base_.model,
        decode_head=dict(_base_.model.decode_head, num_classes=11),
    ),
    data_preprocessor=dict(size=_base_.crop_size),
)
custom_hooks = _base_.psmt.hooks
val_evaluator = _base_.psmt.evaluator
test_evaluator = val_evaluator
benchmark = dict(method='PS-MT', data='camvid')
