#!/bin/sh
# Fuzzes every parser for some seconds: tests/fuzz/run.sh [SECONDS [TARGET...]]. Fails on any crash, and stores the input
# under tests/fuzz/artifacts. Needs stable Rust and a C++ compiler (Debian: g++).
set -eu

seconds=${1:-10}
[ $# -eq 0 ] || shift
[ $# -gt 0 ] || set -- notification matcher events rule_file
cd "$(dirname "$0")"

command -v c++ >/dev/null || { echo "tests/fuzz/run.sh: libFuzzer needs a C++ compiler; on Debian: apt-get install g++" >&2; exit 1; }

# The flags of `cargo fuzz`, without AddressSanitizer: that needs a nightly toolchain, and our code is safe Rust.
flags="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4"
flags="$flags -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table"
flags="$flags -Cllvm-args=-sanitizer-coverage-trace-compares"
host=$(rustc -vV | sed -n 's/^host: //p')
# With --target, the flags apply only to the targets, not to build scripts and macros.
RUSTC_BOOTSTRAP=1 RUSTFLAGS=$flags cargo build --locked --release --target "$host" --target-dir target

for target; do
    mkdir -p "corpus/$target" "artifacts/$target"
    echo "== $target: $seconds s"
    "target/$host/release/$target" "corpus/$target" "seeds/$target" \
        -max_total_time="$seconds" -max_len=70000 -len_control=0 -timeout=5 -rss_limit_mb=1024 \
        -artifact_prefix="artifacts/$target/" -print_final_stats=1 >"artifacts/$target.log" 2>&1 || {
        tail -n 40 "artifacts/$target.log" >&2
        echo "tests/fuzz/run.sh: $target failed: see above, and tests/fuzz/artifacts/$target" >&2
        exit 1
    }
    grep -E '^(stat::number_of_executed_units|Done)' "artifacts/$target.log"
done
