_base_ = [
    '../_base_/models/deeplabv3plus_r50-d16_cityscapes.py',
    '../_base_/recipes/cityscapes_1-4.py',
    '../_base_/default_runtime.py',
]
model = dict(
    _delete_=True,
    **_base_.psmt.model,
    **_base_.recipe,
    segmentor=_base_.model,
    data_preprocessor=dict(size=_base_.crop_size),
    mix=[dict(type='TeacherGuidedCutMix', num_boxes=3, area=(0.25, 0.5))],
)
custom_hooks = _base_.psmt.hooks
val_evaluator = _base_.psmt.evaluator
test_evaluator = val_evaluator
benchmark = dict(published=76.92)
