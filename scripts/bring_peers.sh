#!/bin/sh
# Brings what is compared with, beside the environment, which stays as it is: sh scripts/bring_peers.sh PYTHON simulators optimizers
# simulators are CrossSim and aihwkit-lightning, into .peers; optimizers are pytorch_optimizer, into .peers/optimizers, and where
# that cannot be had, it is said and no more. --no-deps, for aihwkit-lightning asks for one version of torch, and pip would put a
# CUDA build in place of the CPU one. CROSSSIM=PATH takes a checkout that is there already.
set -eu
python="$1"
shift
cd "$(dirname "$0")/.."
here="$PWD/.peers"
for which in "$@"; do
    case "$which" in
    simulators)
        if [ ! -e "$here/ready" ]; then
            rm -rf "$here"
            "$python" -m pip install --quiet --no-deps --target "$here" \
                "${CROSSSIM:-git+https://github.com/sandialabs/cross-sim@v3.2.0}" aihwkit-lightning==2.1.0 tqdm >&2
            touch "$here/ready"
        fi
        ;;
    optimizers)
        if [ ! -e "$here/optimizers/ready" ]; then
            rm -rf "$here/optimizers"
            if "$python" -m pip install --quiet --no-deps --target "$here/optimizers" pytorch-optimizer==4.1.0 >&2; then
                touch "$here/optimizers/ready"
            else
                echo "pip could not bring pytorch-optimizer; what is compared with it is left out" >&2
            fi
        fi
        ;;
    *)
        echo "no peers called $which: simulators, optimizers" >&2
        exit 2
        ;;
    esac
done
