#!/bin/sh
# The tests of the bridges, with both peers: sh scripts/peers.sh PYTHON [pytest's arguments]
# They are brought into .peers, beside the environment, which stays as it is; --no-deps, for aihwkit-lightning asks for one
# version of torch, and pip would put a CUDA build in place of the CPU one. CROSSSIM=PATH takes a checkout that is there already.
set -eu
python="$1"
shift
cd "$(dirname "$0")/.."
here="$PWD/.peers"
if [ ! -e "$here/ready" ]; then
    rm -rf "$here"
    "$python" -m pip install --quiet --no-deps --target "$here" \
        "${CROSSSIM:-git+https://github.com/sandialabs/cross-sim@v3.2.0}" aihwkit-lightning==2.1.0 tqdm >&2
    touch "$here/ready"
fi
PYTHONPATH="src:$here${PYTHONPATH:+:$PYTHONPATH}" OMP_NUM_THREADS=1 exec "$python" -m pytest tests/test_bridges.py "$@"
