# The two commands of the README: `make demo` and `make test`. Each installs the system packages that it needs.
.PHONY: help setup build clients simulation simulation-report probes demo test test-rust test-c test-fortran test-simulation \
        test-python mpi setup-mpi test-mpi test-aarch64 check lint bench bench-peers detection-report install clean

# Debian's Python, whose python3-zmq the tests use; a Python of pyenv or conda would not see it.
PYTHON ?= /usr/bin/python3
PREFIX ?= /usr/local
DESTDIR ?=
JOBS ?= $(shell nproc)
CARGO ?= cargo

BINARY := target/release/anomalyd
# Apart, since it needs the site's MPI to run.
MPI_BINARY := build/mpi/anomalyd
# Where shared weights and data lie, if they do; the tests that want them say loudly that they skip.
export ANOMALYD_SHARED ?= $(abspath $(CURDIR)/../shared)

help:
	@echo "make demo      build, then show a simulation that meets a flipped bit, is told so, rewinds and finishes"
	@echo "make test      build, then run every test"
	@echo "make check     formatting, lints and documentation as errors, then make test"
	@echo "make build     the daemon, the C and Fortran clients, the simulation"
	@echo "make detection-report   false alarms, delays and painted faults on the shared runs"
	@echo "make simulation-report   50 runs of the simulation, each with a bit flipped at random: what is caught, and how soon"
	@echo "make test-aarch64  the tests of the models on an emulated ARM processor"
	@echo "make mpi       $(MPI_BINARY): the daemon with the feature mpi (docs/mpi.md)"
	@echo "make install   PREFIX=$(PREFIX): the daemon, the clients' libraries and headers"
	@echo "make bench     benchmarks of the crates"
	@echo "make bench-peers   the extractor and the forest beside other engines, which it installs under build/"

setup:
	@sh deploy/install-packages.sh
	@command -v $(CARGO) >/dev/null || { echo "cargo was not found: install Rust $$(sed -n 's/^channel = //p' rust-toolchain.toml) first" >&2; exit 1; }

build: $(BINARY) clients simulation

.PHONY: $(BINARY)
# With the tests, so that the dependencies are built once: alone, the binary would want candle with other features of its crates.
$(BINARY): setup
	$(CARGO) build --release --locked --workspace --tests

clients: setup
	cmake -S client-c -B build/client-c -DCMAKE_BUILD_TYPE=Release -DANOMALYD_BUILD_TESTS=ON
	cmake --build build/client-c -j $(JOBS)
	cmake -S client-fortran -B build/client-fortran -DCMAKE_BUILD_TYPE=Release -DANOMALYD_BUILD_TESTS=ON \
	      -DANOMALYD_C_SOURCE_DIR=$(CURDIR)/client-c
	cmake --build build/client-fortran -j $(JOBS)

simulation: setup
	cmake -S tests/simulation -B build/simulation -DCMAKE_BUILD_TYPE=Release
	cmake --build build/simulation -j $(JOBS)

probes: setup
	cmake -S tests/e2e/probe -B build/e2e -DCMAKE_BUILD_TYPE=Release
	cmake --build build/e2e -j $(JOBS)

demo: $(BINARY) simulation
	$(PYTHON) tests/simulation/demo.py --daemon $(BINARY) --simulation build/simulation

# Other numbers, seeds and bits: make simulation-report REPORT='--runs 20 --first-seed 7 --bits 52:63'.
simulation-report: $(BINARY) simulation
	$(PYTHON) tests/simulation/report.py --daemon $(BINARY) --simulation build/simulation $(REPORT)

test: test-rust test-c test-fortran test-simulation test-python test-mpi
	@echo "all tests passed"

test-rust: $(BINARY)
	$(CARGO) test --release --locked --workspace --no-fail-fast

test-c: clients
	ctest --test-dir build/client-c --output-on-failure

test-fortran: clients
	ctest --test-dir build/client-fortran --output-on-failure

test-simulation: simulation
	ctest --test-dir build/simulation --output-on-failure

# The whole path: the daemon binary, the built C and Fortran programs, pyzmq.
test-python: $(BINARY) clients probes simulation
	$(PYTHON) tests/wire/vectors.py -v
	$(PYTHON) -m unittest discover -v -s tests/e2e -t tests/e2e

setup-mpi: setup
	@ANOMALYD_MPI=1 sh deploy/install-packages.sh

# A target of tests with it, so that the dependencies are those of the other build; which is then put back in its place.
mpi: setup-mpi
	$(CARGO) build --release --locked --workspace --bin anomalyd --test npy --features anomalyd/mpi
	install -D -m 755 $(BINARY) $(MPI_BINARY)
	$(CARGO) build --release --locked --workspace --bin anomalyd --test npy

test-mpi: mpi
	$(CARGO) test --release --locked --workspace --lib --features anomalyd/mpi -- ranks:: serve_by_mpi::
	cmake -S tests/e2e/probe -B build/e2e -DCMAKE_BUILD_TYPE=Release -DANOMALYD_MPI=ON
	cmake --build build/e2e -j $(JOBS)
	ANOMALYD_MPI_BINARY=$(abspath $(MPI_BINARY)) $(PYTHON) -m unittest discover -v -s tests/e2e -t tests/e2e -p test_mpi.py

# The tests of the models on ARM, emulated; AARCH64_TESTS=kernels:: are those of the extractor's kernels alone.
AARCH64 = aarch64-unknown-linux-gnu
test-aarch64: setup
	@ANOMALYD_AARCH64=1 sh deploy/install-packages.sh
	rustup target add $(AARCH64)
	CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
	CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64-static -L /usr/aarch64-linux-gnu" \
	$(CARGO) test --release --locked --target $(AARCH64) -p anomalyd-models --lib -- $(AARCH64_TESTS)

lint: setup-mpi
	$(CARGO) fmt --all -- --check
	$(CARGO) clippy --release --locked --workspace --all-targets -- -D warnings
	$(CARGO) clippy --release --locked --workspace --all-targets --features anomalyd/mpi -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --release --locked --workspace --no-deps

check: lint test

bench: setup
	$(CARGO) bench --locked -p anomalyd-models

# Taking turns with onnxruntime, OpenVINO, TensorFlow, Keras and candle; with scikit-learn and isotree; CLASSIFY from end to end.
bench-peers: setup clients
	$(CARGO) build --release --locked -p anomalyd -p anomalyd-models --bins --examples
	PYTHON=$(PYTHON) sh tests/reference/make_peers.sh build/peers onnx onnxruntime openvino tensorflow-cpu scikit-learn pandas isotree
	build/peers/bin/python tests/reference/bench_extractor_peers.py
	build/peers/bin/python tests/reference/bench_forest_peers.py --threads 1
	build/peers/bin/python tests/reference/bench_forest_peers.py --threads 2
	build/peers/bin/python tests/reference/bench_classify.py

# Every figure by one configuration; the runs lie in ANOMALYD_SHARED/data.
detection-report: $(BINARY)
	@ANOMALYD=$(BINARY) sh tests/reference/detection_report.sh

install: build
	install -d $(DESTDIR)$(PREFIX)/bin
	install -m 755 $(BINARY) $(DESTDIR)$(PREFIX)/bin/anomalyd
	DESTDIR=$(DESTDIR) cmake --install build/client-c --prefix $(PREFIX)
	DESTDIR=$(DESTDIR) cmake --install build/client-fortran --prefix $(PREFIX)

clean:
	rm -rf build
	$(CARGO) clean
