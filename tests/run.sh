#!/usr/bin/env bash
# Everything that must pass, from a bare Debian 12 on.
#
#   tests/run.sh [STEP...]     packages, gcc, sanitize, threads, tidy; all of them by default
#
# Builds in the source folder (build-<preset>), or under $SHIPLAP_BUILD_ROOT if that is set or the source folder
# cannot be written to.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$here"

packages=(
    g++ cmake ninja-build pkg-config
    libcrypto++-dev nlohmann-json3-dev librange-v3-dev zlib1g-dev libzstd-dev libcurl4-openssl-dev # the library
    libdeflate-dev libisal-dev                                                # other backends of gzip
    libcli11-dev liblzma-dev                                                  # the command, an example
    catch2 libbenchmark-dev python3 python3-jsonschema                        # the tests
    clang-14 libclang-rt-14-dev clang-format-14 clang-tidy-14
    skopeo umoci jq attr libcap2-bin zstd pigz libarchive-tools docker-registry apache2-utils openssl # other people's tools, to compare with
    buildah podman containerd runc busybox-static faketime                    # those that run images, on any day
)

root=${SHIPLAP_BUILD_ROOT:-$here}
mkdir -p "$root" 2>/dev/null || true
[ -w "$root" ] || root=${TMPDIR:-/tmp}/shiplap-build-$(id -u)
jobs=$(nproc)

# clang 14 predates kernels that place memory at random within 32 bits: its sanitizers want fixed places.
fixed=() wrap=()
setarch -R true 2>/dev/null && fixed=(setarch -R)

build() { # PRESET TARGET
    cmake --preset "$1" -B "$root/build-$1" -D SHIPLAP_TESTS_TOGETHER=ON
    cmake --build "$root/build-$1" -j "$jobs" --target "$2"
}
run() { # PRESET CTEST_OPTION...
    local preset=$1
    shift
    "${wrap[@]}" ctest --test-dir "$root/build-$preset" -j "$jobs" --output-on-failure --no-tests=error "$@" |
        tee "$root/build-$preset/run.log"
    result=$(grep 'tests passed' "$root/build-$preset/run.log")
}

packages() { examples/install_packages.sh "${packages[@]}"; }
gcc() {
    build dev all
    run dev
}
sanitize() {
    local wrap=("${fixed[@]}")
    build asan all
    run asan -L run
}
threads() {
    local wrap=("${fixed[@]}")
    build tsan shiplap_concurrent_tests
    run tsan -L concurrent
}
tidy() {
    cmake --preset tidy -B "$root/build-tidy"
    cmake --build "$root/build-tidy" -j "$jobs" --target shiplap_tidy -- -k 0 # all findings, not the first alone
}

steps=("$@")
[ $# -gt 0 ] || steps=(packages gcc sanitize threads tidy)
summary=()
for step in "${steps[@]}"; do
    declare -F "$step" >/dev/null || { echo "no step '$step'; see the top of tests/run.sh" >&2; exit 2; }
    printf '\n==== %s ====\n' "$step"
    began=$SECONDS result=
    trap 'echo "tests/run.sh: step $step failed" >&2' EXIT
    "$step"
    trap - EXIT
    summary+=("$(printf '%-10s %4d s   %s' "$step" $((SECONDS - began)) "$result")")
done
printf '\nAll of tests/run.sh passed:\n'
printf '  %s\n' "${summary[@]}"
