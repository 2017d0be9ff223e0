"""Times ResNet-50 by this project's kernels beside onnxruntime, OpenVINO, TensorFlow, Keras and candle, taking turns in one run.

    make bench-peers

or, in a Python of one's own with numpy, onnx and those of the peers that are wanted:

    cargo build --release -p anomalyd-models --example bench_extractor
    python3 tests/reference/bench_extractor_peers.py --rounds 11

The graphs have random weights of He's scale, batch norms folded in; every engine computes in f32 (OpenVINO is told to: on some
processors it takes bf16 otherwise), one image at a time, resident in a process of its own. Ours includes preprocessing; the
others are given a preprocessed image. Outputs are compared first. A peer that is not installed is skipped aloud. What else of
ours is named by `--beside` has a line of its own, with its ratios to the peers: by default the device `cpu:int8`, where the processor has it.

For each round every engine runs once, so that what else the machine does strikes all alike; ratios are formed within a round,
and their medians printed. The last line tells the multiply-adds that were done (Winograd's are fewer than the definition's, and AMX takes three of bf16
for one of f32) beside those that a loop without memory reaches in the same rounds. On a busy machine the processor time of one thread says more than the clock: both are shown.
"""

import argparse
import importlib.util
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = ROOT / "target/release/examples/bench_extractor"
BLOCKS = [3, 4, 6, 3]


class Weights:
    """Convolutions in the order of the network: weight `[out, in, k, k]` and bias, drawn anew or read from a file."""

    def __init__(self, path=None):
        self.rng = np.random.default_rng(1)
        self.values = None if path is None else np.fromfile(path, np.float32)
        self.flat = []

    def next(self, shape, gain):
        if self.values is not None:
            n, n_out = int(np.prod(shape)), shape[0]
            weight, bias = self.values[:n].reshape(shape), self.values[n:n + n_out]
            self.values = self.values[n + n_out:]
            return weight, bias
        scale = gain * np.sqrt(2 / np.prod(shape[1:]))
        weight = (scale * self.rng.standard_normal(shape)).astype(np.float32)
        bias = (0.1 * self.rng.standard_normal(shape[0])).astype(np.float32)
        self.flat += [weight.ravel(), bias]
        return weight, bias


def resnet50(variant, n_stages, weights, x, convolution, pool, add_relu):
    """The network in whatever the last three functions make of `x`."""

    def layer(x, n_out, n_in, kernel, stride, relu=False, gain=1.0):
        return convolution(x, *weights.next((n_out, n_in, kernel, kernel), gain), stride, relu)

    x, n_in = pool(layer(x, 64, 3, 7, 2, relu=True)), 64
    for stage in range(n_stages):
        inner = 64 << stage
        for block in range(BLOCKS[stage]):
            stride = 2 if stage and not block else 1
            first, second = (stride, 1) if variant == "v1" else (1, stride)
            y = layer(x, inner, n_in, 1, first, relu=True)
            y = layer(y, inner, inner, 3, second, relu=True)
            y = layer(y, 4 * inner, inner, 1, 1, gain=0.25)
            x = add_relu(y, x if block else layer(x, 4 * inner, n_in, 1, stride))
            n_in = 4 * inner
    return x


def onnx_model(variant, rows, columns, n_stages, weights):
    """The network as an ONNX model, serialised."""
    from onnx import TensorProto, helper, numpy_helper

    nodes, initializers = [], []

    def node(kind, inputs, **attributes):
        nodes.append(helper.make_node(kind, inputs, [f"value{len(nodes)}"], **attributes))
        return nodes[-1].output[0]

    def convolution(x, weight, bias, stride, relu):
        kernel = weight.shape[2]
        names = [f"{part}{len(nodes)}" for part in ("weight", "bias")]
        initializers.extend(numpy_helper.from_array(a, n) for a, n in zip((weight, bias), names))
        y = node("Conv", [x, *names], kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[kernel // 2] * 4)
        return node("Relu", [y]) if relu else y

    def pool(x):
        return node("MaxPool", [x], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])

    resnet50(variant, n_stages, weights, "input", convolution, pool, lambda y, x: node("Relu", [node("Add", [y, x])]))
    nodes[-1].output[0] = "output"
    make = helper.make_tensor_value_info
    inputs = [make("input", TensorProto.FLOAT, [1, 3, rows, columns])]
    outputs = [make("output", TensorProto.FLOAT, None)]
    graph = helper.make_graph(nodes, "resnet50", inputs, outputs, initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()


def onnxruntime_engine(variant, n_stages, weights, image, n_threads):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = n_threads
    # Idle threads must not take processors from the engine whose turn it is.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    model = onnx_model(variant, *image.shape[2:], n_stages, weights)
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return onnxruntime.__version__, lambda: session.run(None, {"input": image})[0]


def openvino_engine(variant, n_stages, weights, image, n_threads):
    import openvino

    core = openvino.Core()
    settings = {"INFERENCE_NUM_THREADS": n_threads, "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY",
                "ENABLE_CPU_PINNING": False, "NUM_STREAMS": 1}
    model = onnx_model(variant, *image.shape[2:], n_stages, weights)
    request = core.compile_model(core.read_model(model), "CPU", settings).create_infer_request()

    def run():
        return next(iter(request.infer({0: image}, share_inputs=True, share_outputs=True).values()))

    return openvino.__version__, run


def quiet_tensorflow(n_threads):
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow

    tensorflow.config.threading.set_intra_op_parallelism_threads(n_threads)
    tensorflow.config.threading.set_inter_op_parallelism_threads(1)
    return tensorflow


def tensorflow_engine(variant, n_stages, weights, image, n_threads):
    tf = quiet_tensorflow(n_threads)

    def padded(x, pad):
        return tf.pad(x, [[0, 0], [pad, pad], [pad, pad], [0, 0]]) if pad else x

    def convolution(x, weight, bias, stride, relu):
        pad = weight.shape[2] // 2
        y = tf.nn.conv2d(x, tf.constant(weight.transpose(2, 3, 1, 0)), stride, [[0, 0], [pad, pad], [pad, pad], [0, 0]])
        y = tf.nn.bias_add(y, tf.constant(bias))
        return tf.nn.relu(y) if relu else y

    @tf.function
    def forward(x):
        # After a ReLU a border of zeros is as good as one of minus infinity.
        return resnet50(variant, n_stages, weights, x, convolution, lambda x: tf.nn.max_pool2d(padded(x, 1), 3, 2, "VALID"),
                        lambda y, x: tf.nn.relu(y + x))

    channels_last = tf.constant(image.transpose(0, 2, 3, 1))
    return tf.__version__, lambda: forward(channels_last).numpy().transpose(0, 3, 1, 2)


def keras_engine(variant, n_stages, weights, image, n_threads):
    quiet_tensorflow(n_threads)
    import keras

    def convolution(x, weight, bias, stride, relu):
        n_out, _, kernel, _ = weight.shape
        if kernel > 1:
            x = keras.layers.ZeroPadding2D(kernel // 2)(x)
        layer = keras.layers.Conv2D(n_out, kernel, stride, activation="relu" if relu else None)
        y = layer(x)
        layer.set_weights([weight.transpose(2, 3, 1, 0), bias])
        return y

    def pool(x):
        return keras.layers.MaxPooling2D(3, 2)(keras.layers.ZeroPadding2D(1)(x))

    channels_last = np.ascontiguousarray(image.transpose(0, 2, 3, 1))
    x = keras.Input(channels_last.shape[1:])
    y = resnet50(variant, n_stages, weights, x, convolution, pool, lambda y, x: keras.layers.ReLU()(keras.layers.Add()([y, x])))
    model = keras.Model(x, y)
    return keras.__version__, lambda: model.predict(channels_last, verbose=0).transpose(0, 3, 1, 2)


ENGINES = {"onnxruntime": onnxruntime_engine, "openvino": openvino_engine, "tensorflow": tensorflow_engine, "keras": keras_engine}
NEEDS = {"onnxruntime": ["onnx", "onnxruntime"], "openvino": ["onnx", "openvino"], "tensorflow": ["tensorflow"],
         "keras": ["tensorflow", "keras"], "candle": []}


def serve(arguments):
    """A peer's process: one inference for each line it is given, as the example does it."""
    name, variant, rows, columns, n_threads, n_stages, weights, image, output = arguments
    image = np.fromfile(image, np.float32).reshape(1, 3, int(rows), int(columns)) / 64 - 2
    version, run = ENGINES[name](variant, int(n_stages), Weights(weights), image, int(n_threads))
    np.ascontiguousarray(run()).tofile(output)
    print(f"ready {name} {version}", flush=True)
    for _ in sys.stdin:
        start, before = time.perf_counter(), time.process_time()
        run()
        print(1e3 * (time.perf_counter() - start), 1e3 * (time.process_time() - before), flush=True)


class Engine:
    """A process that runs one inference for each line it is given, and says how long it took."""

    def __init__(self, name, variant, rows, columns, n_threads, n_stages, folder, isa):
        files = [folder / "weights", folder / "image", folder / f"output-{name}"]
        what = [variant, rows, columns, n_threads, n_stages]
        if name in ENGINES:
            command = [sys.executable, __file__, "--serve", name, *what, *files]
        else:
            command = [BINARY, *what, {"ours": isa, "peak": f"peak:{isa}"}.get(name, name), *files]
        environment = dict(os.environ, RAYON_NUM_THREADS=str(n_threads))
        self.process = subprocess.Popen(list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env=environment)
        self.about = self.process.stdout.readline().strip()
        if not self.about.startswith("ready"):
            raise SystemExit(f"{name} did not start; its message is above")
        self.output = np.fromfile(files[2], np.float32)
        products = re.search(r"([0-9.]+) G multiply-adds", self.about)
        self.products = float(products[1]) if products else None

    def __call__(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return tuple(map(float, self.process.stdout.readline().split()))

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def compare(variant, rows, columns, n_threads, peers, arguments):
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        weights = Weights()
        resnet50(variant, arguments.stages, weights, None, lambda *_: None, lambda _: None, lambda *_: None)
        np.concatenate(weights.flat).tofile(folder / "weights")
        np.random.default_rng(2).integers(0, 256, (3, rows, columns)).astype(np.float32).tofile(folder / "image")
        engines = {}
        for name in ["ours", *arguments.beside, *peers, "peak"]:
            try:
                engines[name] = Engine(name, variant, rows, columns, n_threads, arguments.stages, folder, arguments.isa)
            except SystemExit as error:
                if name not in arguments.beside:
                    raise
                print(f"SKIPPED: {error}", file=sys.stderr)
    print(f"\n{variant}, {rows} x {columns}, {n_threads} thread(s); ours: {engines['ours'].about}")
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
        if name == "peak":
            ours, most = (engines[e].products / statistics.median(t[0] for t in times[e]) for e in ("ours", "peak"))
            print(f"  multiply-adds: {1e3 * ours:.0f} G/s, {ours / most:.0%} of the {1e3 * most:.0f} G/s that registers alone allow")
            continue
        line = f"  {name:12} median {clock:7.1f} ms, least {least:7.1f}, processor time {processor:7.1f}"
        if name != "ours":
            wanted, found = engine.output.astype(np.float64), engines["ours"].output
            error = np.abs(found - wanted).max() / np.abs(wanted).max()
            ratios = [statistics.median(o[i] / t[i] for o, t in zip(times["ours"], times[name])) for i in (0, 1)]
            line += f"; ours / it {ratios[0]:.2f} (processor time {ratios[1]:.2f}), outputs differ by {error:.1e}"
        if name in arguments.beside:
            line += "".join(f"; it / {peer} {statistics.median(o[0] / t[0] for o, t in zip(times[name], times[peer])):.2f}" for peer in peers)
        print(line, flush=True)
    for engine in engines.values():
        engine.close()


def main():
    if sys.argv[1:2] == ["--serve"]:
        return serve(sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--pause", type=float, default=0.01, help="seconds between two inferences")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--variants", nargs="+", default=["v1.5", "v1"])
    parser.add_argument("--sizes", nargs="+", default=["480x956", "224x224"])
    parser.add_argument("--stages", type=int, default=4, help="4 is the whole network, 3 as far as layer3")
    parser.add_argument("--peers", nargs="*", default=list(NEEDS), choices=list(NEEDS))
    parser.add_argument("--isa", default="best", help="of ours: avx2, avx512, amx, bf16, f32 (the best that does every product in f32) or best")
    parser.add_argument("--beside", nargs="*", default=["int8"], help="what else of ours takes turns: as --isa, or int8, int8_vnni, int8_amx")
    arguments = parser.parse_args()
    if not BINARY.exists():
        raise SystemExit(f"{BINARY} was not found: build it first, see the top of this script")
    peers = []
    for name in arguments.peers:
        absent = [module for module in NEEDS[name] if importlib.util.find_spec(module) is None]
        if absent:
            print(f"SKIPPED: {name}, because {' and '.join(absent)} could not be found by {sys.executable}", file=sys.stderr)
        else:
            peers.append(name)
    print(f"{os.cpu_count()} processors; against {', '.join(peers) or 'no one'}")
    for size in arguments.sizes:
        rows, columns = map(int, size.split("x"))
        for variant in arguments.variants:
            for n_threads in arguments.threads:
                compare(variant, rows, columns, n_threads, peers, arguments)


if __name__ == "__main__":
    main()
