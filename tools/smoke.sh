#!/usr/bin/env bash
# On every Python that the project supports and this machine has: installs the package anew, searches for a tiny network,
# exports it in every format, and predicts. `tools/smoke.sh 3.13` takes that version only; it is an error if it is missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source tools/pythons.sh

TINY=(--dataset=digits --train_examples=256 --test_examples=64 --initial_channels=4 --cells=1 --nodes=1
    --operations=sep_conv_3x3,identity --batch_size=32 --supernet_epochs=2 --warmup_epochs=1 --mask_epochs=1
    --mask_rates=relative --operation_price=0.01 --finetune_epochs=1 --finetune_batch_size=32 --quantize=none,int8)

smoke() { # version, Python
    local folder python
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' RETURN
    printf '\n== smoke test on Python %s\n' "$1"
    "$2" -m venv "$folder/venv"
    python="$folder/venv/bin/python"
    "$python" -m pip install --quiet --disable-pip-version-check --editable '.[all]'
    "$python" -W error::SyntaxWarning -m hmnas_tf.search "${TINY[@]}" --workdir="$folder/run"
    "$python" -c "import sklearn.datasets, PIL.Image as i, sys; pixels = sklearn.datasets.load_digits().images[0]
i.fromarray((pixels * 15.9).astype('uint8')).save(sys.argv[1])" "$folder/zero.png"
    "$python" -m hmnas_tf.predict --workdir="$folder/run" --images="$folder/zero.png" | tee "$folder/said"
    grep -q zero.png "$folder/said"
    "$python" -m hmnas_tf.evaluate --workdir="$folder/run"
}

found=0
for version in "${@:-${VERSIONS[@]}}"; do
    if python=$(python_of "$version"); then
        smoke "$version" "$python"
        found=$((found + 1))
    elif [ $# -gt 0 ]; then
        echo "tools/smoke.sh: there is no Python $version on this machine" >&2
        exit 1
    else
        echo "tools/smoke.sh: no Python $version on this machine, left out" >&2
    fi
done
[ "$found" -gt 0 ] || { echo "tools/smoke.sh: none of Python ${VERSIONS[*]} is on this machine" >&2; exit 1; }
printf '\n== smoke tests passed on %s Pythons\n' "$found"
