#!/bin/sh
# Makes a Python environment in the folder $1 with the engines that the benchmarks compare with. One that cannot be had is left out
# aloud, and the benchmarks then skip it.
set -eu
folder=$1
if [ ! -x "$folder/bin/pip" ]; then
    # Debian's own Python makes no environments without the package python3-venv.
    "${PYTHON:-python3}" -m venv "$folder" >/dev/null 2>&1 || python3 -m venv --clear "$folder" >/dev/null 2>&1 || {
        echo "no Python environment could be made in $folder: install python3-venv" >&2
        exit 1
    }
fi
if ! "$folder/bin/python" -c "import numpy" 2>/dev/null; then
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check numpy
fi
shift
for package in "$@"; do
    "$folder/bin/python" -m pip show --quiet "$package" 2>/dev/null ||
        "$folder/bin/python" -m pip install --quiet --disable-pip-version-check "$package" ||
        echo "SKIPPED: $package could not be installed in $folder" >&2
done
