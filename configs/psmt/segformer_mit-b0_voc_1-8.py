# SegFormer, with its own optimiser.
_base_ = [
    '../_base_/models/segformer_mit-b0.py', '../_base_/datasets/voc.py',
    '../_base_/schedules/voc_1-8.py', '../_base_/default_runtime.py'
]
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
    optimizer=dict(type='AdamW', lr=6e-5, weight_decay=0.01),
    paramwise_cfg=dict(
        custom_keys={
            'pos_block': dict(decay_mult=0.),
            'norm': dict(decay_mult=0.),
            'head': dict(lr_mult=10.)
        }))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, end=1500, by_epoch=False),
    dict(
        type='PolyLR',
        power=1.0,
        begin=1500,
        end=_base_.train_cfg.max_iters,
        by_epoch=False)
]
