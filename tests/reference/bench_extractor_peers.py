"""Times ResNet-50 by this project's kernels beside onnxruntime and OpenVINO, taking turns in one run.

    cargo build --release -p anomalyd-models --example bench_extractor
    python3 tests/reference/bench_extractor_peers.py --rounds 11

Needs numpy, onnx, onnxruntime and, unless --peers says otherwise, openvino. The graphs have random weights of He's scale, batch
norms folded in; every engine computes in f32 (OpenVINO is told to: on some processors it takes bf16 otherwise), one image at
a time, and stays resident. Ours includes preprocessing; the others are given a preprocessed image. Outputs are compared first.

For each round every engine runs once, so that what else the machine does strikes all alike; ratios are formed within a round,
and their medians printed. On a busy machine the processor time of one thread says more than the clock: both are shown.
"""

import argparse
import os
import pathlib
import statistics
import subprocess
import tempfile
import time

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

ROOT = pathlib.Path(__file__).resolve().parents[2]
BLOCKS = [3, 4, 6, 3]


class Graph:
    """An ONNX graph of ResNet-50 and the same weights in the order that the example reads them."""

    def __init__(self, variant, rows, columns, n_stages, seed):
        self.rng = np.random.default_rng(seed)
        self.nodes, self.initializers, self.flat = [], [], []
        x, n_in = self.convolution("input", 64, 3, 7, 2, relu=True), 64
        x = self.node("MaxPool", [x], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
        for stage in range(n_stages):
            inner = 64 << stage
            for block in range(BLOCKS[stage]):
                stride = 2 if stage and not block else 1
                first, second = (stride, 1) if variant == "v1" else (1, stride)
                y = self.convolution(x, inner, n_in, 1, first, relu=True)
                y = self.convolution(y, inner, inner, 3, second, relu=True)
                y = self.convolution(y, 4 * inner, inner, 1, 1, gain=0.25)
                shortcut = x if block else self.convolution(x, 4 * inner, n_in, 1, stride)
                x = self.node("Relu", [self.node("Add", [y, shortcut])])
                n_in = 4 * inner
        self.nodes[-1].output[0] = "output"
        make = helper.make_tensor_value_info
        inputs = [make("input", TensorProto.FLOAT, [1, 3, rows, columns])]
        outputs = [make("output", TensorProto.FLOAT, None)]
        graph = helper.make_graph(self.nodes, "resnet50", inputs, outputs, self.initializers)
        self.model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)

    def node(self, kind, inputs, **attributes):
        output = f"value{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def convolution(self, x, n_out, n_in, kernel, stride, relu=False, gain=1.0):
        scale = gain * np.sqrt(2 / (n_in * kernel * kernel))
        weight = (scale * self.rng.standard_normal((n_out, n_in, kernel, kernel))).astype(np.float32)
        bias = (0.1 * self.rng.standard_normal(n_out)).astype(np.float32)
        self.flat += [weight.ravel(), bias]
        names = [f"{part}{len(self.nodes)}" for part in ("weight", "bias")]
        self.initializers += [numpy_helper.from_array(a, n) for a, n in zip((weight, bias), names)]
        pads = [kernel // 2] * 4
        y = self.node("Conv", [x, *names], kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=pads)
        return self.node("Relu", [y]) if relu else y


class Ours:
    """The example, which runs one inference for each line it is given."""

    def __init__(self, arguments, folder):
        binary = ROOT / "target/release/examples/bench_extractor"
        if not binary.exists():
            raise SystemExit(f"{binary} was not found: build it first, see the top of this script")
        self.process = subprocess.Popen([binary, *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.about = self.process.stdout.readline().strip()
        self.output = np.fromfile(folder / "output", np.float32)

    def __call__(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return tuple(map(float, self.process.stdout.readline().split()))

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Timed:
    """A peer within this process."""

    def __init__(self, run):
        self.run = run
        self.output = run()

    def __call__(self):
        start, before = time.perf_counter(), time.process_time()
        self.run()
        return 1e3 * (time.perf_counter() - start), 1e3 * (time.process_time() - before)

    def close(self):
        pass


def onnxruntime_engine(model, image, n_threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = n_threads
    # Idle threads must not take processors from the engine whose turn it is.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return Timed(lambda: session.run(None, {"input": image})[0])


def openvino_engine(model, image, n_threads):
    import openvino

    core = openvino.Core()
    settings = {"INFERENCE_NUM_THREADS": n_threads, "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY",
                "ENABLE_CPU_PINNING": False, "NUM_STREAMS": 1}
    compiled = core.compile_model(core.read_model(model.SerializeToString()), "CPU", settings)
    request = compiled.create_infer_request()
    return Timed(lambda: next(iter(request.infer({0: image}, share_inputs=True, share_outputs=True).values())))


def compare(variant, rows, columns, n_threads, arguments):
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        graph = Graph(variant, rows, columns, arguments.stages, seed=1)
        image = np.random.default_rng(2).integers(0, 256, (3, rows, columns)).astype(np.float32)
        np.concatenate(graph.flat).tofile(folder / "weights")
        image.tofile(folder / "image")
        files = [folder / part for part in ("weights", "image", "output")]
        preprocessed = (image / 64 - 2)[None]
        ours = Ours([variant, rows, columns, n_threads, arguments.stages, arguments.isa, *files], folder)
    engines = {"ours": ours}
    for peer in arguments.peers:
        engines[peer] = {"onnxruntime": onnxruntime_engine, "openvino": openvino_engine}[peer](
            graph.model, preprocessed, n_threads)
    print(f"\n{variant}, {rows} x {columns}, {n_threads} thread(s); ours: {ours.about}")
    times = {name: [] for name in engines}
    for round_ in range(arguments.rounds + 1):
        for name, engine in engines.items():
            elapsed = engine()
            if round_:
                times[name].append(elapsed)
            time.sleep(arguments.pause)
    for name, engine in engines.items():
        clock, processor = (statistics.median(t[i] for t in times[name]) for i in (0, 1))
        least = min(t[0] for t in times[name])
        line = f"  {name:12} median {clock:7.1f} ms, least {least:7.1f}, processor time {processor:7.1f}"
        if engine is not ours:
            wanted, found = np.asarray(engine.output, np.float64).ravel(), ours.output
            error = np.abs(found - wanted).max() / np.abs(wanted).max()
            ratios = [statistics.median(o[i] / t[i] for o, t in zip(times["ours"], times[name])) for i in (0, 1)]
            line += f"; ours / it {ratios[0]:.2f} (processor time {ratios[1]:.2f}), outputs differ by {error:.1e}"
        print(line, flush=True)
    for engine in engines.values():
        engine.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--pause", type=float, default=0.01, help="seconds between two inferences")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--variants", nargs="+", default=["v1.5", "v1"])
    parser.add_argument("--sizes", nargs="+", default=["480x956", "224x224"])
    parser.add_argument("--stages", type=int, default=4, help="4 is the whole network, 3 as far as layer3")
    parser.add_argument("--peers", nargs="*", default=["onnxruntime", "openvino"])
    parser.add_argument("--isa", default="best", help="of ours: portable, avx2, avx512, neon or best")
    arguments = parser.parse_args()
    print(f"onnx {onnx.__version__}, onnxruntime {onnxruntime.__version__}, {os.cpu_count()} processors")
    for size in arguments.sizes:
        rows, columns = map(int, size.split("x"))
        for variant in arguments.variants:
            for n_threads in arguments.threads:
                compare(variant, rows, columns, n_threads, arguments)


if __name__ == "__main__":
    main()
