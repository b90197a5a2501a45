#!/usr/bin/env bash
# Measures the command beside everybody else's: builds it, makes the trees, runs all, writes a table and charts.
#
#   benchmarks/run.sh packages         installs what it builds with, and the other tools that Debian has
#   benchmarks/run.sh [OPTION...]      --help tells which
#
# A run takes about a quarter of an hour and 8 GB in ${TMPDIR:-/tmp}/shiplap-bench; with --quick two or three minutes. Builds in
# build-bench, or under $SHIPLAP_BUILD_ROOT if that is set or the source folder cannot be written to.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$here"

if [ "${1:-}" = packages ]; then
    exec examples/install_packages.sh g++ cmake ninja-build pkg-config python3 \
        libcrypto++-dev nlohmann-json3-dev librange-v3-dev zlib1g-dev libzstd-dev libcurl4-openssl-dev libcli11-dev \
        libdeflate-dev libisal-dev umoci skopeo buildah pigz zstd gzip strace curl docker-registry
fi

root=${SHIPLAP_BUILD_ROOT:-$here}
mkdir -p "$root" 2>/dev/null || true
[ -w "$root" ] || root=${TMPDIR:-/tmp}/shiplap-build-$(id -u)
build=$root/build-bench
mkdir -p "$build"

options=()
case " $* " in
*" --command "* | *" --command="* | *" --help "* | *" -h "*) ;;
*)
    cmake -G Ninja -S . -B "$build" -DCMAKE_BUILD_TYPE=Release -DSHIPLAP_BUILD_TESTS=OFF -DSHIPLAP_BUILD_BENCHMARKS=OFF
    cmake --build "$build" --target shiplap_command
    options+=(--command "$build/examples/shiplap")
    ;;
esac
if c++ -std=c++20 -O2 -Iinclude benchmarks/run/limits.cpp -o "$build/limits" -ldeflate -lisal -lzstd -lcryptopp 2>"$build/limits.log"; then
    options+=(--limits "$build/limits")
else
    echo "The limits are left out: they need libdeflate, ISA-L, zstd and Crypto++ (see $build/limits.log)"
fi

export PYTHONDONTWRITEBYTECODE=1
exec python3 benchmarks/run "${options[@]}" "$@"
