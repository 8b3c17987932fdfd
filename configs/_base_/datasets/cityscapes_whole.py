# All 2,975 training images with their masks, to draw or import lists.
_base_ = './cityscapes.py'
train_dataloader = dict(
    dataset=dict(_delete_=True, **_base_.images, pipeline=_base_.test_pipeline)
)
