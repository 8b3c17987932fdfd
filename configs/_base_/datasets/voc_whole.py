# All 10,582 training images with their masks, to draw or import lists.
_base_ = './voc.py'
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        **_base_.images,
        ann_file='ImageSets/Segmentation/trainaug.txt',
        pipeline=_base_.test_pipeline,
    )
)
