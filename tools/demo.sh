#!/usr/bin/env bash
# Usage: tools/demo.sh [SEED ...]
# Draws the shapes, trains supervised-only and PS-MT on the same labels for
# the same number of student updates, tests both and compares them.
set -euo pipefail

TOOLS=$(cd "$(dirname "$0")" && pwd)
CONFIG=$TOOLS/../configs/psmt/deeplabv3plus_r18_shapes_1-8
OUT=work_dirs/shapes
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
[ $# -gt 0 ] || set -- 0
RUNS=()
trap 'kill $(jobs -p) 2> /dev/null || true' EXIT # nothing trains on

train() { # config, work dir, seed; to be called in the background
    mkdir -p "$2"
    exec python "$TOOLS/train.py" "$1" --work-dir "$2" \
        --cfg-options randomness.seed="$3" > "$2/train.log" 2>&1
}

finish() { # process, work dir
    wait "$1" || { tail -n 20 "$2/train.log"; exit 1; }
}

evaluate() { # config, work dir
    python "$TOOLS/test.py" "$1" "$(cat "$2/last_checkpoint")" \
        --work-dir "$2/test" > "$2/test.log" 2>&1 ||
        { tail -n 20 "$2/test.log"; exit 1; }
}

status() { # work dir
    sed -nE 's/.*Iter\(train\) +\[ *([0-9/]+)\].*eta: ([0-9:]+).*/\1, \2 left/p' \
        "$1/train.log" | tail -n 1
    sed -nE 's/.* (mIoU: [0-9.]+) .*/\1/p' "$1/train.log" | tail -n 1
}

progress() { # work dirs of both; prints until it is killed
    while sleep 20; do
        echo "  supervised:" $(status "$1") \
            "| PS-MT:" $(status "$2")
    done
}

python "$TOOLS/dataset_converters/make_shapes.py"
for seed in "$@"; do
    P=$OUT/psmt/seed$seed
    S=${P}_supervised # where the end of the log of PS-MT looks
    rm -rf "$S" "$P"
    echo "seed $seed: training both side by side, see $P/train.log"
    train "${CONFIG}_supervised.py" "$S" "$seed" & first=$!
    train "$CONFIG.py" "$P" "$seed" & second=$!
    progress "$S" "$P" & third=$!
    finish $first "$S"
    finish $second "$P"
    kill $third
    wait $third 2> /dev/null || true # bash would report it
    evaluate "${CONFIG}_supervised.py" "$S"
    evaluate "$CONFIG.py" "$P"
    RUNS+=("$S" "$P")
done
echo
python "$TOOLS/analysis_tools/results.py" "${RUNS[@]}" --plot $OUT/curves.png |
    tee $OUT/results.md
awk -F ' *[|] *' '
    NR == 1 { for (i = 1; i <= NF; i++) if ($i == "gain") gain = i }
    $gain ~ /^[+-][0-9]/ { print "PS-MT vs. labels alone: " $gain " mIoU" }
    ' $OUT/results.md
echo "pseudo labels: $(ls -t "$P"/*/vis_data/vis_image/*.png | head -n 1)"
