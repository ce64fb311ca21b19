#!/usr/bin/env bash
# Where one process spends its time: tools/profile.sh PID [SECONDS] [DIRECTORY]
#
# Samples all its threads by perf (software clock, so that it works in virtual machines too), and leaves in DIRECTORY
#   NAME.data     for `perf report -i`
#   NAME.folded   one line per stack and its count: input of any flame graph tool
# and prints two tables: share by binary (a Python interpreter's share is what bytecode costs) and by function.
set -euo pipefail
pid=${1:?usage: tools/profile.sh PID [SECONDS] [DIRECTORY]}
seconds=${2:-5}
directory=${3:-build/profile}
command -v perf >/dev/null || { echo "profile: no perf here; \`apt-get install linux-perf\` brings it" >&2; exit 2; }
name=$(cat "/proc/$pid/comm")
mkdir -p "$directory"
base=$directory/$name
perf record -q -F 997 -e cpu-clock --call-graph dwarf,8192 -p "$pid" -o "$base.data" -- sleep "$seconds" 2>/dev/null

# A sample is a head line, then its frames from the leaf up, then an empty line.
perf script --no-inline -i "$base.data" -F comm,ip,sym 2>/dev/null | awk '
    /^[^ \t]/ { name = $1; stack = ""; next }
    NF == 0 { if (name != "") count[name stack]++; name = ""; next }
    { $1 = ""; sub(/^ /, ""); sub(/\+0x[0-9a-f]+$/, ""); stack = ";" $0 stack }
    END { for (line in count) print line, count[line] }
' | sort >"$base.folded"

samples=$(awk '{ n += $NF } END { print n + 0 }' "$base.folded")
echo "== $name (pid $pid): $samples samples in $seconds s, $((samples * 100 / (997 * seconds))) % of one core"
if ((samples == 0)); then exit 0; fi
echo "-- by binary"
perf report -i "$base.data" --stdio --no-children --no-inline -g none --fields overhead,dso --percent-limit 0.5 2>/dev/null | grep -v '^#' | grep . || true
echo "-- by function (its own time)"
perf report -i "$base.data" --stdio --no-children --no-inline -g none --fields overhead,symbol,dso --percent-limit 0.7 2>/dev/null |
    grep -v '^#' | grep . | head -40 || true
echo "-- stacks: $base.folded"
