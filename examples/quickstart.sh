#!/usr/bin/env bash
# From a bare Debian 12 to an image: installs what the build needs, builds the command, exports a folder to an OCI
# layout, and shows what came out. No server, no daemon.
#
#   examples/quickstart.sh [FOLDER]     default: the library's own headers
#
# Builds in build/, or under $SHIPLAP_BUILD_ROOT if that is set or the source folder cannot be written to.
set -euo pipefail
folder=$(realpath "${1:-$(dirname "${BASH_SOURCE[0]}")/../include}")
cd "$(dirname "${BASH_SOURCE[0]}")/.."

examples/install_packages.sh g++ cmake ninja-build \
    libcrypto++-dev nlohmann-json3-dev librange-v3-dev zlib1g-dev libzstd-dev libcurl4-openssl-dev libcli11-dev \
    libdeflate-dev libisal-dev

root=${SHIPLAP_BUILD_ROOT:-$PWD}
mkdir -p "$root" 2>/dev/null || true
[ -w "$root" ] || root=${TMPDIR:-/tmp}/shiplap-build-$(id -u)
build=$root/build/quickstart

cmake -G Ninja -S . -B "$build" -DCMAKE_BUILD_TYPE=Release -DSHIPLAP_BUILD_TESTS=OFF -DSHIPLAP_BUILD_BENCHMARKS=OFF
cmake --build "$build" --target shiplap_command

shiplap=$build/examples/shiplap
image=$root/build/quickstart-image
rm -rf "$image"

echo
echo "\$ shiplap -o type=oci,tar=false,dest=$image -t example.com/quickstart:1.0 $folder"
"$shiplap" -o "type=oci,tar=false,\"dest=$image\"" -t example.com/quickstart:1.0 "$folder"
echo
echo "\$ shiplap inspect oci-layout:$image"
"$shiplap" inspect "oci-layout:$image"
