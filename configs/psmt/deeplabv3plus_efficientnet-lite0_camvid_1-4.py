_base_ = './deeplabv3plus_efficientnet-lite0_camvid_1-8.py'
lists = 'ImageSets/Segmentation/semi/1_4'
train_dataloader = dict(
    dataset=dict(
        labeled=dict(ann_file=f'{lists}/labeled.txt'),
        unlabeled=dict(ann_file=f'{lists}/unlabeled.txt'),
    )
)
