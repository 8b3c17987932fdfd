# Needs timm. Weights from a file, so that no network is asked.
_base_ = [
    '../_base_/models/deeplabv3plus_efficientnet-lite0-d16.py',
    '../_base_/datasets/camvid11.py',
    '../_base_/schedules/camvid11.py',
    '../_base_/default_runtime.py',
]
model = {
    '_delete_': True,
    **_base_.psmt.model,
    **_base_.psmt.paper,
    'segmentor': _base_.model,
    'data_preprocessor': dict(size=_base_.crop_size),
    'warmup_iters': 115,  # 10 passes over 46 labeled images at 4
    'unsup_weight': 1.5,
    'ramp_iters': 972,  # 12 passes over 321 unlabeled images at 4
    'teachers': dict(_base_.psmt.paper.teachers, init='copy', topk=None),
}
model['segmentor']['backbone'].update(
    pretrained=False,
    checkpoint_path='{{$PSMT_DATA:data}}/weights/'
    'tf_efficientnet_lite0_in1k.pth',
)
model['segmentor']['decode_head']['num_classes'] = 11
custom_hooks = _base_.psmt.hooks
val_evaluator = _base_.psmt.evaluator
test_evaluator = val_evaluator
