_base_ = (
    './deeplabv3plus_mobilenetv2_camvid-240_1-8_class-weight_continued_'
    'supervised.py')
train_dataloader = dict(
    dataset=dict(ann_file='ImageSets/Segmentation/semi/1_4/labeled.txt'))
load_from = ('{{$PSMT_WORK_DIRS:work_dirs}}/deeplabv3plus_mobilenetv2_'
             'camvid-240_1-4_class-weight_imagenet_supervised/'
             'seed{{$PSMT_SEED:0}}/iter_8000.pth')
benchmark = dict(data='CamVid 240 x 180, 1/4')
