# As for VOC, with 4.5e-3 for 2 GPUs of 4 images each.
_base_ = './voc.py'
assert _base_.accumulate <= 4, 'PSMT_ACCUMULATE must be 1, 2 or 4'
# labeled, and as many unlabeled
total_batch = 4 // _base_.accumulate * int('{{$WORLD_SIZE:1}}')
optim_wrapper = dict(optimizer=dict(lr=4.5e-3))
auto_scale_lr = dict(base_batch_size=8 // _base_.accumulate)
