# UPerNet on a backbone of mmpretrain, with layer-wise learning rates.
_base_ = [
    '../_base_/models/upernet_convnext-tiny.py', '../_base_/datasets/voc.py',
    '../_base_/schedules/voc_1-8.py', '../_base_/default_runtime.py'
]
custom_imports = dict(
    imports=['mmpretrain.models', 'mmseg_psmt'], allow_failed_imports=False)
model = dict(
    _delete_=True,
    **_base_.psmt.model,
    **_base_.recipe,
    segmentor=_base_.model,
    data_preprocessor=dict(size=_base_.crop_size))
custom_hooks = _base_.psmt.hooks
val_evaluator = _base_.psmt.evaluator
test_evaluator = val_evaluator
optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-4, weight_decay=0.05),
    constructor='PSMTLayerDecayOptimizerConstructor',
    paramwise_cfg=dict(
        decay_rate=0.9, decay_type='stage_wise', num_layers=6))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, end=1500, by_epoch=False),
    dict(
        type='PolyLR',
        power=1.0,
        begin=1500,
        end=_base_.train_cfg.max_iters,
        by_epoch=False)
]
