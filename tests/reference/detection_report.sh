#!/bin/sh
# What the detector does on the shared runs, by one configuration: false alarms, delays, other spacings and beginnings, painted faults; and
# on the raw fields of the run that has some.
# ANOMALYD is the binary, ANOMALYD_SHARED the folder that holds data/; further arguments go to every `anomalyd evaluate`.
set -eu
anomalyd=${ANOMALYD:?the path of the anomalyd binary}
data=${ANOMALYD_SHARED:?the folder that holds data/}/data
for run in run_a run_a_clean run_b run_b_clean; do
    if [ ! -f "$data/$run/manifest.csv" ]; then
        echo "SKIPPED: no $data/$run/manifest.csv (set ANOMALYD_SHARED to the folder that holds data/)" >&2
        exit 0
    fi
done

a="$data/run_a/manifest.csv $data/run_a_clean/manifest.csv --before run_a_clean=$data/run_a/manifest.csv"
b="$data/run_b/manifest.csv $data/run_b_clean/manifest.csv --before run_b_clean=$data/run_b/manifest.csv"
all="$data/run_a/manifest.csv $data/run_a_clean/manifest.csv $data/run_b/manifest.csv $data/run_b_clean/manifest.csv
     --before run_a_clean=$data/run_a/manifest.csv --before run_b_clean=$data/run_b/manifest.csv"

# The half disc of 470 pixels shows 159 x 144 zones: 14.8 pixels a zone.
evaluate() {
    echo
    echo "== $1"
    shift
    "$anomalyd" evaluate --crop paper "$@"
}

# Lists of paths: the folder's name must not hold blanks.
# shellcheck disable=SC2086
{
    evaluate "all runs, each with its fault-free twin; 500 painted faults" $all --inject 500 --pixels-per-zone 14.8 --flips 20 "$@"
    evaluate "run_b, every second image" $b --every 2 "$@"
    evaluate "run_a, watched from image 300 on" $a --from 300 "$@"
}

# The same with features of a trained network, where its weights are.
weights=$ANOMALYD_SHARED/weights
if ls "$weights"/resnet50_v1_keras* >/dev/null 2>&1; then
    # shellcheck disable=SC2086
    evaluate "all runs, each with its twin; features of ResNet-50's layer3 in place of HOG" $all --weights-dir "$weights" --set \
        'online.one_step_ahead.features.extractor={name="resnet50",weights="resnet50-v1-keras-layer3",tap="layer3"}' "$@"
else
    echo "SKIPPED: the report with ResNet-50's features: no resnet50_v1_keras* in $weights" >&2
fi

if [ -f "$data/run_b/raw_entropy.npz" ]; then
    fields=$(mktemp -d)
    trap 'rm -rf "$fields"' EXIT
    echo
    "${PYTHON:-/usr/bin/python3}" "$(dirname "$0")/fields_of_run.py" "$data/run_b" "$fields/run_b_raw"
    raw="$fields/run_b_raw/manifest.csv --inject 480"
    # shellcheck disable=SC2086
    {
        evaluate "run_b, raw entropy on its grid of angles and radii, as it is; 480 faults in its values" $raw "$@"
        evaluate "the same, seen in the plane" $raw --set online.field.grid=polar --set "online.field.radii=[0.4, 6.0]" \
            --set "online.field.angles=[0.0, 180.0]" "$@"
    }
fi
