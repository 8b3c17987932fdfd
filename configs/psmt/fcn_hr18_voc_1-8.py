# FCN on HRNet.
_base_ = [
    '../_base_/models/fcn_hr18.py',
    '../_base_/recipes/voc_1-8.py',
    '../_base_/default_runtime.py',
]
model = {
    '_delete_': True,
    **_base_.psmt.model,
    **_base_.recipe,
    'segmentor': _base_.model,
    'data_preprocessor': dict(size=_base_.crop_size),
    'teachers': dict(_base_.recipe.teachers, init='copy', topk=None),
}
custom_hooks = _base_.psmt.hooks
val_evaluator = _base_.psmt.evaluator
test_evaluator = val_evaluator
