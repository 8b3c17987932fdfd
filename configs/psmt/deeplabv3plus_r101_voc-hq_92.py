_base_ = [
    '../_base_/models/deeplabv3plus_r101-d16.py',
    '../_base_/recipes/voc-hq_92.py',
    '../_base_/default_runtime.py',
]
model = dict(
    _delete_=True,
    **_base_.psmt.model,
    **_base_.recipe,
    segmentor=_base_.model,
    data_preprocessor=dict(size=_base_.crop_size),
)
custom_hooks = _base_.psmt.hooks
val_evaluator = _base_.psmt.evaluator
test_evaluator = val_evaluator
benchmark = dict(published=65.80)
