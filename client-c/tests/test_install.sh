#!/bin/sh
# Installs into a folder of its own and builds the example against what was installed: by CMake, by pkg-config, statically.
# test_install.sh CMAKE BUILD_DIR SOURCE_DIR CC
set -eu
cmake=$1 build=$2 source=$3 cc=$4
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
prefix=$folder/prefix

"$cmake" --install "$build" --prefix "$prefix" >"$folder/log" || { cat "$folder/log" >&2; exit 1; }
test -f "$prefix/include/anomalyd.h" && test -f "$prefix/include/anomalyd_mpi.h"

pc=$(dirname "$(find "$prefix" -name anomalyd.pc)")
export PKG_CONFIG_PATH="$pc"
version=$(pkg-config --modversion anomalyd)
grep -q "ANOMALYD_VERSION_STRING \"$version\"" "$prefix/include/anomalyd.h"
libdir=$(dirname "$pc")

# Says what the minimal example says without a daemon, and that the exit code is that of a run that goes on.
check() {
    answer=$(LD_LIBRARY_PATH="$libdir" ANOMALYD_ENDPOINT="ipc://$folder/nobody" "$1" 1 /a.png)
    case $answer in
    "2 unknown score nan threshold nan no daemon answers"*) echo "ok: $2" ;;
    *) echo "$2: unexpected answer: $answer" >&2; exit 1 ;;
    esac
}

# shellcheck disable=SC2046
$cc -std=c99 -Wall -Werror "$source/examples/minimal.c" $(pkg-config --cflags --libs anomalyd) -o "$folder/by-pkg-config"
check "$folder/by-pkg-config" "pkg-config"

mkdir "$folder/project"
cp "$source/examples/minimal.c" "$folder/project"
cat >"$folder/project/CMakeLists.txt" <<END
cmake_minimum_required(VERSION 3.16)
project(export_test C)
find_package(anomalyd $version REQUIRED)
add_executable(shared minimal.c)
target_link_libraries(shared PRIVATE anomalyd::anomalyd)
add_executable(static minimal.c)
target_link_libraries(static PRIVATE anomalyd::anomalyd_static)
END
"$cmake" -S "$folder/project" -B "$folder/project/build" -DCMAKE_PREFIX_PATH="$prefix" >"$folder/log" 2>&1 &&
    "$cmake" --build "$folder/project/build" >>"$folder/log" 2>&1 || { cat "$folder/log" >&2; exit 1; }
check "$folder/project/build/shared" "find_package, shared"
check "$folder/project/build/static" "find_package, static"
if "$cmake" -S "$folder/project" -B "$folder/project/build2" -DCMAKE_PREFIX_PATH="$folder/nothing" >/dev/null 2>&1; then
    echo "find_package found an anomalyd elsewhere; this test has proved nothing" >&2
    exit 1
fi
