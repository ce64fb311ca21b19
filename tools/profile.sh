#!/usr/bin/env bash
# Where nodes spend their time, as flame graphs and tables: tools/profile.py with the Python that `make build` has made.
#   tools/profile.sh PID|DATA_DIR [SECONDS] [DIRECTORY]
#   tools/profile.sh --load getData|setData|create [--nodes 3] [--seconds 5]
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
command -v "$python" >/dev/null || python=python3
export PYTHONPATH=$root/src${PYTHONPATH:+:$PYTHONPATH}
if ! "$python" -c 'import fastzk.bench.load' 2>/dev/null; then
    echo "profile: fastzk is not built for $python; \`make build\` does it" >&2
    exit 2
fi
exec "$python" "$root/tools/profile.py" "$@"
