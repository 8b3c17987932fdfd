# All labels; the unlabelled images are the same ones.
_base_ = './deeplabv3plus_mobilenetv2_camvid-240_1-8.py'
train_dataloader = dict(
    dataset=dict(
        labeled=dict(ann_file='ImageSets/Segmentation/train.txt'),
        unlabeled=dict(ann_file='ImageSets/Segmentation/train.txt')))
benchmark = dict(data='CamVid 240 x 180, all')
load_from = ('{{$PSMT_WORK_DIRS:work_dirs}}/deeplabv3plus_mobilenetv2_'
             'camvid-240_1-1_warmup/seed{{$PSMT_SEED:0}}/iter_20000.pth')
