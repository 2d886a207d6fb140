#!/bin/sh
# The tests of the bridges, with both simulators, which come into .peers: sh scripts/peers.sh PYTHON [pytest's arguments]
set -eu
python="$1"
shift
cd "$(dirname "$0")/.."
sh scripts/bring_peers.sh "$python" simulators
PYTHONPATH="src:$PWD/.peers${PYTHONPATH:+:$PYTHONPATH}" OMP_NUM_THREADS=1 exec "$python" -m pytest tests/test_bridges.py "$@"
