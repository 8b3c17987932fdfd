_base_ = (
    './deeplabv3plus_mobilenetv2-d16_camvid-320_1-8_imagenet_supervised.py')
train_dataloader = dict(
    dataset=dict(ann_file='ImageSets/Segmentation/semi/1_4/labeled.txt'))
benchmark = dict(data='CamVid 320 x 240, 1/4')
