# The setting of UniMatch V2 (arXiv 2410.10777, LiheYoung/UniMatch-V2 at
# f6afb4d): 16 labeled and 16 unlabeled images, AdamW with 5e-6 for the encoder
# and 40 times that elsewhere, weight decay on everything, poly 0.9 without a
# rise. As in voc.py the batch of a GPU stays, auto_scale_lr scales the rate,
# and PSMT_ACCUMULATE=2 or 4 splits the batch of a step.
_base_ = './sgd_poly.py'
accumulate = int('{{$PSMT_ACCUMULATE:1}}')
assert accumulate in (1, 2, 4), 'PSMT_ACCUMULATE must be 1, 2 or 4'
# labeled, and as many unlabeled
total_batch = 4 // accumulate * int('{{$WORLD_SIZE:1}}')
optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    accumulative_counts=accumulate,
    optimizer=dict(
        type='AdamW', lr=2e-4, betas=(0.9, 0.999), weight_decay=0.01
    ),
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=1 / 40))),
)
auto_scale_lr = dict(enable=True, base_batch_size=16 // accumulate)
# Loss over all valid pixels, no ramp, EMA whose decay rises to 0.996. Ours are
# two teachers in place of one, the supervised warm-up of PS-MT before they
# teach, Conf-CE, which weighs a pixel by its confidence, T-VAT between encoder
# and decoder in place of a second strong view with complementary dropout, and
# labeled images that are strong, too.
setting = dict(
    ramp_iters=0,
    unsup_weight=1.0,
    consistency=dict(type='ConfCELoss', threshold=0.95, reduction='valid'),
    tvat=dict(type='TVAT', xi=0.1, eps=2.0, num_iters=1),
    perturb_at='inputs',
)  # docs/backbones.md: cost and effect of each place
