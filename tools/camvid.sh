#!/usr/bin/env bash
# Usage: tools/camvid.sh, with the environment variables
#   SPLITS="1-16 1-8 1-4 1-1"  SEEDS="0 1 2"  JOBS=2 (trainings at a time)
#   LOGS=FOLDER (receives a copy of all logs)
# Trains and tests the methods of docs/benchmarks-240.md on CamVid, goes on
# where it was stopped, and prints the table.
set -euo pipefail
cd "$(dirname "$0")/.."

export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
METHODS=(_supervised _meanteacher _meanteacher_conf-ce _no-tvat_no-cutmix
    _no-tvat "")
WARMUPS=() CONFIGS=()
for split in ${SPLITS:-1-16 1-8 1-4 1-1}; do
    config=configs/psmt/deeplabv3plus_mobilenetv2_camvid-240_$split
    WARMUPS+=("${config}_warmup.py")
    for method in "${METHODS[@]}"; do
        CONFIGS+=("$config$method.py")
    done
done
run() {
    python tools/reproduce.py "$@" --seeds ${SEEDS:-0 1 2} \
        --jobs "${JOBS:-2}" ${LOGS:+--logs "$LOGS"}
}
run "${WARMUPS[@]}"
run "${CONFIGS[@]}"
