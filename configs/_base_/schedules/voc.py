# The paper's optimiser: no weight decay on norm and bias, one learning rate,
# 1e-2 for 4 GPUs with 8 labelled images each. Children set the length.
_base_ = './sgd_poly.py'
optim_wrapper = dict(
    paramwise_cfg=dict(norm_decay_mult=0., bias_decay_mult=0.))
auto_scale_lr = dict(enable=False, base_batch_size=32)
