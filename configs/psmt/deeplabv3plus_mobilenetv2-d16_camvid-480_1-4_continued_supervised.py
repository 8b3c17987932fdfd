_base_ = (
    './deeplabv3plus_mobilenetv2-d16_camvid-480_1-8_continued_supervised.py')
train_dataloader = dict(
    dataset=dict(ann_file='ImageSets/Segmentation/semi/1_4/labeled.txt'))
load_from = ('{{$PSMT_WORK_DIRS:work_dirs}}/deeplabv3plus_mobilenetv2-d16_'
             'camvid-480_1-4_supervised/seed{{$PSMT_SEED:0}}/iter_4000.pth')
benchmark = dict(data='CamVid 480 x 360, 1/4')
