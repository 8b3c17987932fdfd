# As for VOC, with 4.5e-3 for 2 GPUs of 4 images each.
_base_ = './voc.py'
total_batch = 4 * int('{{$WORLD_SIZE:1}}')  # labelled, and as many unlabelled
optim_wrapper = dict(optimizer=dict(lr=4.5e-3))
auto_scale_lr = dict(base_batch_size=8)
