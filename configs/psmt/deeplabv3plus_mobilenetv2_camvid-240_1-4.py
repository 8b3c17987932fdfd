_base_ = './deeplabv3plus_mobilenetv2_camvid-240_1-8.py'
lists = 'ImageSets/Segmentation/semi/1_4'
train_dataloader = dict(
    dataset=dict(
        labeled=dict(ann_file=f'{lists}/labeled.txt'),
        unlabeled=dict(ann_file=f'{lists}/unlabeled.txt')))
benchmark = dict(data='CamVid 240 x 180, 1/4')
load_from = ('{{$PSMT_WORK_DIRS:work_dirs}}/deeplabv3plus_mobilenetv2_'
             'camvid-240_1-4_warmup/seed{{$PSMT_SEED:0}}/iter_20000.pth')
