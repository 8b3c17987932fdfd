# Cityscapes, 1,488 labeled and 1,487 unlabeled; setting of UniMatch V2. The
# released files have 8 + 8 images and 0.95 as threshold here.
_base_ = ['../datasets/cityscapes_798.py', '../schedules/unimatch-v2.py']
lists = 'semi/1_2'
train_dataloader = dict(
    dataset=dict(
        labeled=dict(ann_file=f'{lists}/labeled.txt'),
        unlabeled=dict(ann_file=f'{lists}/unlabeled.txt'),
    )
)
labeled_pass = -(-1488 // _base_.total_batch)  # iterations
unlabeled_pass = -(-1487 // _base_.total_batch)
recipe = dict(
    _base_.setting,
    warmup_iters=5 * labeled_pass,
    consistency=dict(type='ConfCELoss', threshold=0.0, reduction='valid'),
    teachers=dict(init='copy', decay=0.996, alternate_every=unlabeled_pass),
)
max_iters = 5 * labeled_pass + 180 * unlabeled_pass
train_cfg = dict(max_iters=max_iters)
param_scheduler = [
    dict(type='PolyLR', power=0.9, eta_min=0.0, end=max_iters, by_epoch=False)
]
benchmark = dict(
    method='PS-MT, setting of UniMatch V2',
    data='Cityscapes',
    protocol='Cityscapes 1/2',
)
