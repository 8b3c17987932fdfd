# High-quality labels, 92 and 10,490 unlabeled; setting of UniMatch V2.
_base_ = ['../datasets/voc_518.py', '../schedules/unimatch-v2.py']
lists = 'ImageSets/Segmentation/semi/hq/92'
train_dataloader = dict(
    dataset=dict(
        labeled=dict(ann_file=f'{lists}/labeled.txt'),
        unlabeled=dict(ann_file=f'{lists}/unlabeled.txt'),
    )
)
labeled_pass = -(-92 // _base_.total_batch)  # iterations
unlabeled_pass = -(-10490 // _base_.total_batch)
recipe = dict(
    _base_.setting,
    warmup_iters=5 * labeled_pass,
    teachers=dict(init='copy', decay=0.996, alternate_every=unlabeled_pass),
)
max_iters = 5 * labeled_pass + 60 * unlabeled_pass
train_cfg = dict(max_iters=max_iters)
param_scheduler = [
    dict(type='PolyLR', power=0.9, eta_min=0.0, end=max_iters, by_epoch=False)
]
benchmark = dict(
    method='PS-MT, setting of UniMatch V2',
    data='VOC 2012 aug',
    protocol='high quality 92',
)
