#!/usr/bin/env bash
# Runs tests/stress.rs under ThreadSanitizer, on the stable toolchain: the clean run must end without a report, the
# canary (a known-bad hand-over) must be reported. No suppressions.
set -euo pipefail
cd "$(dirname "$0")/../.."

if [ "$(uname -sm)" != "Linux x86_64" ]; then
    echo "tsan: runs on Linux x86-64 only; this is $(uname -sm)" >&2
    exit 2
fi
export RUSTC_BOOTSTRAP=1
export RUSTFLAGS="-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer"
export TSAN_OPTIONS="exitcode=66"
# Link-time optimisation would merge the sanitized crate with an unsanitized std.
export CARGO_PROFILE_RELEASE_LTO=off
stress=(cargo test --quiet -p headrace-lockfree --release --test stress
    --target x86_64-unknown-linux-gnu --target-dir "${CARGO_TARGET_DIR:-target}/tsan" --)

"${stress[@]}" clean
status=0
report=$("${stress[@]}" canary 2>&1) || status=$?
if [ "$status" -eq 0 ] || ! grep -q "WARNING: ThreadSanitizer: data race" <<<"$report"; then
    echo "tsan: the canary was not reported (exit $status), so the clean run shows nothing:" >&2
    echo "$report" >&2
    exit 1
fi
echo "tsan: clean, and the canary was reported"
