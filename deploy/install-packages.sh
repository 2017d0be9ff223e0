#!/bin/sh
# Installs what building, testing and the demonstration need on Debian or Ubuntu; asks for root or sudo only if something is missing.
set -eu

packages="gcc make pkg-config cmake gfortran libzmq3-dev libsodium-dev python3 python3-zmq python3-numpy"
# With ANOMALYD_MPI=1 also what serving within an MPI job needs: an MPI, and libclang for its Rust bindings.
[ "${ANOMALYD_MPI:-0}" = 0 ] || packages="$packages openmpi-bin libopenmpi-dev libclang-dev"
# With ANOMALYD_AARCH64=1 also what building for ARM and running that here needs.
[ "${ANOMALYD_AARCH64:-0}" = 0 ] || packages="$packages gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static"

missing=""
for package in $packages; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null; then
    echo "not a Debian-like system: install the counterparts of:$missing" >&2
    exit 1
fi
sudo=""
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "neither root nor sudo: ask an administrator to install:$missing" >&2; exit 1; }
    sudo=sudo
fi
echo "installing:$missing"
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get update -qq
# shellcheck disable=SC2086 # a list of words
$sudo apt-get install -y -qq --no-install-recommends $missing
