from pathlib import Path

from setuptools import find_packages, setup

setup(
    name='mmseg_psmt',
    version='0.2.0',
    description='PS-MT, semi-supervised semantic segmentation, for '
    'MMSegmentation',
    long_description=Path(__file__)
    .with_name('README.md')
    .read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    author='The mmseg_psmt authors',
    license='Apache-2.0',
    license_files=['LICENSE'],
    keywords='semantic segmentation, semi-supervised learning, mean teacher',
    classifiers=[
        'Development Status :: 4 - Beta',
        'Intended Audience :: Science/Research',
        'Operating System :: POSIX :: Linux',
        'Programming Language :: Python :: 3',
        'Programming Language :: Python :: 3.11',
        'Topic :: Scientific/Engineering :: Image Recognition',
    ],
    packages=find_packages(include=['mmseg_psmt', 'mmseg_psmt.*']),
    # Links to the folders of the repository, where mmengine and mim look.
    package_data={
        'mmseg_psmt': [
            'py.typed',
            '.mim/model-index.yml',
            '.mim/configs/**/*',
            '.mim/tools/**/*.py',
            '.mim/tools/**/*.sh',
        ]
    },
    entry_points=dict(console_scripts=['psmt = mmseg_psmt.cli:main']),
    python_requires='>=3.10',
    install_requires=[
        'torch>=2.1',
        'numpy>=1.26',
        'opencv-python>=4.6',
        'tensorboard',
    ],
    # One of them; each would overwrite the other.
    extras_require={
        'onedl': [
            'onedl-mmengine>=0.10.12',
            'onedl-mmcv>=2.3.6',
            'onedl-mmsegmentation>=1.4.2',
            'onedl-mmpretrain>=1.3.6',
        ],
        'openmmlab': [
            'mmengine>=0.10.4',
            'mmcv>=2.1,<2.2',
            'mmsegmentation>=1.2.2',
            'mmpretrain>=1.2.0',
            'ftfy',
            'regex',
        ],
        'timm': ['timm>=1.0.20'],  # DINOv3 and others, beside one of them
    },
)
