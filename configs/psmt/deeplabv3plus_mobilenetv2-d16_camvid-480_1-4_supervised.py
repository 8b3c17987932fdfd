_base_ = './deeplabv3plus_mobilenetv2-d16_camvid-480_1-8_supervised.py'
train_dataloader = dict(
    dataset=dict(ann_file='ImageSets/Segmentation/semi/1_4/labeled.txt'))
benchmark = dict(data='CamVid 480 x 360, 1/4')
