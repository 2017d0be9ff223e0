#!/bin/sh
# Installs into a folder of its own and builds the example against what was installed: by CMake, by pkg-config, and from the
# installed source file. test_install.sh CMAKE BUILD_DIR SOURCE_DIR FC C_SOURCE_DIR (empty: libanomalyd is installed already)
set -eu
cmake=$1 build=$2 source=$3 fc=$4 c_source=$5
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
prefix=$folder/prefix

run() {
    "$@" >"$folder/log" 2>&1 || { cat "$folder/log" >&2; exit 1; }
}
if [ -n "$c_source" ]; then
    run "$cmake" -S "$c_source" -B "$folder/c" -DANOMALYD_BUILD_TESTS=OFF -DANOMALYD_BUILD_EXAMPLES=OFF
    run "$cmake" --build "$folder/c"
    run "$cmake" --install "$folder/c" --prefix "$prefix"
fi
run "$cmake" --install "$build" --prefix "$prefix"
PKG_CONFIG_PATH=$(dirname "$(find "$prefix" -name anomalyd-fortran.pc)")${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}
export PKG_CONFIG_PATH
libraries=$(dirname "${PKG_CONFIG_PATH%%:*}")

check() {
    answer=$(LD_LIBRARY_PATH="$libraries" ANOMALYD_ENDPOINT="ipc://$folder/nobody" "$1" 1 /a.png)
    case $answer in
    "2 unknown score NaN threshold NaN no daemon answers"*) echo "ok: $2" ;;
    *) echo "$2: unexpected answer: $answer" >&2; exit 1 ;;
    esac
}

cd "$folder" # compilers leave module files where they are
# shellcheck disable=SC2046
run $fc "$source/examples/minimal.f90" $(pkg-config --cflags --libs anomalyd-fortran) -o by-pkg-config
check ./by-pkg-config "pkg-config"
mkdir own && cd own
test -f "$prefix/share/anomalyd-fortran/anomalyd_mpi.f90"
# shellcheck disable=SC2046
run $fc "$prefix/share/anomalyd-fortran/anomalyd.f90" "$source/examples/minimal.f90" $(pkg-config --libs anomalyd) -o from-source
check ./from-source "the installed source file"
cd ..

mkdir project
cp "$source/examples/minimal.f90" project
cat >project/CMakeLists.txt <<END
cmake_minimum_required(VERSION 3.16)
project(export_test Fortran C)
find_package(anomalyd-fortran REQUIRED)
add_executable(minimal minimal.f90)
target_link_libraries(minimal PRIVATE anomalyd::fortran)
END
run "$cmake" -S project -B project/build -DCMAKE_PREFIX_PATH="$prefix"
run "$cmake" --build project/build
check project/build/minimal "find_package"
