_base_ = './deeplabv3plus_mobilenetv2_camvid-240_1-8_class-weight_continued.py'
lists = 'ImageSets/Segmentation/semi/1_4'
train_dataloader = dict(
    dataset=dict(
        labeled=dict(ann_file=f'{lists}/labeled.txt'),
        unlabeled=dict(ann_file=f'{lists}/unlabeled.txt')))
load_from = ('{{$PSMT_WORK_DIRS:work_dirs}}/deeplabv3plus_mobilenetv2_'
             'camvid-240_1-4_class-weight_imagenet_supervised/'
             'seed{{$PSMT_SEED:0}}/iter_8000.pth')
benchmark = dict(data='CamVid 240 x 180, 1/4')
