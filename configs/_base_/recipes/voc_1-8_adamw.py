# The schedule of transformers and ConvNeXt; children set the learning rate.
_base_ = './voc_1-8.py'
optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    accumulative_counts=_base_.accumulate,
    optimizer=dict(type='AdamW', lr=6e-5, weight_decay=0.01),
)
auto_scale_lr = dict(base_batch_size=16 // _base_.accumulate)
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-6,
        end=1500 * _base_.accumulate,
        by_epoch=False,
    ),
    dict(
        type='PolyLR',
        power=1.0,
        begin=1500 * _base_.accumulate,
        end=_base_.train_cfg.max_iters,
        by_epoch=False,
    ),
]
