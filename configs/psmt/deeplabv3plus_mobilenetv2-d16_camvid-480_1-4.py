_base_ = './deeplabv3plus_mobilenetv2-d16_camvid-480_1-8.py'
lists = 'ImageSets/Segmentation/semi/1_4'
train_dataloader = dict(
    dataset=dict(
        labeled=dict(ann_file=f'{lists}/labeled.txt'),
        unlabeled=dict(ann_file=f'{lists}/unlabeled.txt')))
load_from = ('{{$PSMT_WORK_DIRS:work_dirs}}/deeplabv3plus_mobilenetv2-d16_'
             'camvid-480_1-4_supervised/seed{{$PSMT_SEED:0}}/iter_4000.pth')
benchmark = dict(data='CamVid 480 x 360, 1/4')
