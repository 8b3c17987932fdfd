# The paper's optimizer: no weight decay on norm and bias, one learning rate,
# 2.5e-3 per GPU. auto_scale_lr scales it with the total batch, and the lengths
# are written in passes at 8 images per GPU, for as many GPUs as there are. For
# small cards PSMT_ACCUMULATE=2, 4 or 8 splits the batch of a step into as many
# iterations; batches and lengths here count iterations.
_base_ = './sgd_poly.py'
accumulate = int('{{$PSMT_ACCUMULATE:1}}')
assert 8 % accumulate == 0, f'PSMT_ACCUMULATE={accumulate} must divide 8'
# labeled, and as many unlabeled
total_batch = 8 // accumulate * int('{{$WORLD_SIZE:1}}')
optim_wrapper = dict(
    accumulative_counts=accumulate,
    optimizer=dict(lr=1e-2),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
)
auto_scale_lr = dict(enable=True, base_batch_size=32 // accumulate)
