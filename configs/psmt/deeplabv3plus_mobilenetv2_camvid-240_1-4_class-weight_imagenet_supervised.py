_base_ = (
    './deeplabv3plus_mobilenetv2_camvid-240_1-8_class-weight_imagenet_'
    'supervised.py')
train_dataloader = dict(
    dataset=dict(ann_file='ImageSets/Segmentation/semi/1_4/labeled.txt'))
benchmark = dict(data='CamVid 240 x 180, 1/4')
