_base_ = [
    '../_base_/models/deeplabv3plus_mobilenetv2.py',
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
custom_hooks = _base_.psmt.hooks
val_evaluator = _base_.psmt.evaluator
test_evaluator = val_evaluator
