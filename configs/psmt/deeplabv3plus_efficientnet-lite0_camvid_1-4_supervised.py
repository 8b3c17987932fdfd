_base_ = './deeplabv3plus_efficientnet-lite0_camvid_1-8_supervised.py'
train_dataloader = dict(
    dataset=dict(ann_file='ImageSets/Segmentation/semi/1_4/labeled.txt')
)
