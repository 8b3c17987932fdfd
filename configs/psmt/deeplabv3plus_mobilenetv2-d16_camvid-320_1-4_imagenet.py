_base_ = './deeplabv3plus_mobilenetv2-d16_camvid-320_1-8_imagenet.py'
lists = 'ImageSets/Segmentation/semi/1_4'
train_dataloader = dict(
    dataset=dict(
        labeled=dict(ann_file=f'{lists}/labeled.txt'),
        unlabeled=dict(ann_file=f'{lists}/unlabeled.txt')))
benchmark = dict(data='CamVid 320 x 240, 1/4')
