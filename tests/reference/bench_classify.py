"""Times warm CLASSIFY requests from the C client to their verdicts beside the extractor alone, taking turns in one run.

    make bench-peers

or, by hand, with the daemon and the C client built:

    cargo build --release --locked -p anomalyd -p anomalyd-models --bins --examples
    python3 tests/reference/bench_classify.py --weights-dir DIR --images DIR

A model (ResNet-50 to layer3, the paper's crop, an isolation forest on all features) is fitted on the first images of the folder; then
the daemon serves it, and for each round the client `classify_folder` sends some images by its own clock, image decoding, forest and sockets
included, and the extractor alone computes as many images of the same size, resident in a process of its own (random weights: time does not
depend on them; it is given pixels). The difference of their medians is what everything but the extractor takes.
"""

import argparse
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHARED = pathlib.Path(os.environ.get("ANOMALYD_SHARED", ROOT.parent / "shared"))
ANOMALYD = ROOT / "target/release/anomalyd"
EXTRACTOR = ROOT / "target/release/examples/bench_extractor"
CLIENT = ROOT / "build/client-c/examples/classify_folder"
WEIGHTS = {"v1": "resnet50-v1-keras-layer3"}


def quantile(values, share):
    return sorted(values)[min(len(values) - 1, round(share * len(values)))]


class Daemon:
    """The daemon, ready to judge by the model in `folder`."""

    def __init__(self, folder, n_threads, device, weights_dir):
        runtime = folder / f"runtime-{n_threads}"
        command = [ANOMALYD, "serve", "--threads", n_threads, "--runtime-dir", runtime, "--models-dir", folder / "models",
                   "--weights-dir", weights_dir, "--device", device, "--log-level", "warn"]
        self.process = subprocess.Popen(list(map(str, command)))
        self.endpoint = f"ipc://{runtime}/service.sock"
        while not (runtime / "endpoint").exists():
            if self.process.poll() is not None:
                raise SystemExit("the daemon did not start; its message is above")
            time.sleep(0.02)

    def latencies(self, images):
        """Milliseconds of each image but the first, which pays for the connection."""
        command = [CLIENT, "--endpoint", self.endpoint, "--timeout-ms", 60000, images[0], *images]
        lines = subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True).stdout.splitlines()
        return [float(line.split()[6]) for line in lines[2:-1]]

    def timings(self, images):
        """What the daemon says it spent, in milliseconds: medians by part."""
        command = [ANOMALYD, "classify", "--endpoint", self.endpoint, "--json", *images]
        answers = subprocess.run(list(map(str, command)), capture_output=True, text=True).stdout.splitlines()
        parts = [json.loads(answer)["detail"]["timings_s"] for answer in answers]
        return {part: 1e3 * statistics.median(times[part] for times in parts) for part in parts[0]}

    def memory_mb(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024

    def close(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


class Extractor:
    """The extractor alone: one image for each line it is given."""

    def __init__(self, n_threads, device):
        isa = {"cpu": "best", "cpu:f32": "f32", "cpu:bf16": "bf16", "cpu:int8": "int8"}[device]
        command = [EXTRACTOR, "v1", 480, 956, n_threads, 3, isa]
        self.process = subprocess.Popen(list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if not self.process.stdout.readline().startswith("ready"):
            raise SystemExit("the extractor did not start; its message is above")
        self()

    def __call__(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline().split()[0])

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def measure(folder, n_threads, images, arguments):
    daemon, extractor = Daemon(folder, n_threads, arguments.device, arguments.weights_dir), Extractor(n_threads, arguments.device)
    daemon.latencies(images[:2])
    whole, alone, over = [], [], []
    for first in range(arguments.rounds):
        some = [images[(first * arguments.images_a_round + i) % len(images)] for i in range(arguments.images_a_round)]
        whole.append(statistics.median(daemon.latencies(some)))
        alone.append(statistics.median(extractor() for _ in some))
        over.append(whole[-1] - alone[-1])
    parts = ", ".join(f"{part} {time:.1f}" for part, time in daemon.timings(images[:8]).items())
    print(f"{arguments.device}, {n_threads} threads: CLASSIFY {statistics.median(whole):.1f} ms (90 %: {quantile(whole, 0.9):.1f}), "
          f"the extractor alone {statistics.median(alone):.1f}, the rest {statistics.median(over):.1f} "
          f"({quantile(over, 0.1):.1f} to {quantile(over, 0.9):.1f}); the daemon's own clock: {parts}; "
          f"it holds {daemon.memory_mb():.0f} MB at most", flush=True)
    extractor.close()
    daemon.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--images-a-round", type=int, default=4)
    parser.add_argument("--fit-images", type=int, default=24)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--weights-dir", type=pathlib.Path, default=SHARED / "weights")
    parser.add_argument("--images", type=pathlib.Path, default=SHARED / "data/run_a_clean/frames")
    arguments = parser.parse_args()
    for needed in [ANOMALYD, EXTRACTOR, CLIENT]:
        if not needed.exists():
            raise SystemExit(f"{needed} was not found: build it first, see the top of this script")
    for needed in [arguments.weights_dir, arguments.images]:
        if not needed.is_dir():
            print(f"SKIPPED: CLASSIFY from end to end, because {needed} is no directory", file=sys.stderr)
            return
    images = sorted(arguments.images.glob("*.png"))
    # Not below TMPDIR, which may be too long for an ipc path.
    with tempfile.TemporaryDirectory(prefix="anomalyd-", dir="/tmp") as name:
        folder = pathlib.Path(name)
        fit = [ANOMALYD, "fit", "--output", folder / "models/bench", "--range", f"1:{arguments.fit_images}", "--extractor", "resnet50",
               "--weights", WEIGHTS["v1"], "--crop", "paper", "--threshold", 0.5, "--weights-dir", arguments.weights_dir,
               "--device", arguments.device, arguments.images]
        subprocess.run(list(map(str, fit)), check=True, stdout=subprocess.DEVNULL)
        for n_threads in arguments.threads:
            measure(folder, n_threads, images[arguments.fit_images:], arguments)


if __name__ == "__main__":
    main()
