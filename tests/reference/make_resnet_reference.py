#!/usr/bin/env python3
"""Makes resnet_reference.json: ResNet-50 by onnxruntime on the very weights that the Rust tests load.

    make_resnet_reference.py WEIGHTS_DIR > resnet_reference.json

Needs numpy, onnx, onnxruntime and safetensors. The graph is written from the paper and the weights' own names, with batch
norms as nodes of their own: it shares nothing with the Rust code. Its input is an image that both sides compute from one
formula. f16 tensors are widened to f32 exactly, so that the two differ by the order of summation only.
"""
import json
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper
from safetensors.numpy import load_file

ROWS, COLUMNS = 97, 131
BLOCKS = [3, 4, 6, 3]
NETWORKS = {
    "resnet50-v1-keras-layer3": {
        "file": "resnet50_v1_keras_stem_to_layer3.fp16.safetensors",
        "stages": 3, "stride_in_first": True, "caffe": True, "eps": 1.001e-5,
    },
    "resnet50-v15-torchvision-layer2": {
        "file": "resnet50_v15_torchvision_stem_to_layer2.fp16.safetensors",
        "stages": 2, "stride_in_first": False, "caffe": False, "eps": 1e-5,
    },
}


def image():
    """[3, rows, columns], grey levels 0..255: waves of several lengths, and a bright rectangle with sharp edges."""
    y, x = np.mgrid[0:ROWS, 0:COLUMNS]
    planes = [(x * x // 9 + y * (5 + c) + x * y // 13 + 70 * c) % 256 for c in range(3)]
    planes = np.stack(planes).astype(np.float64)
    planes[:, 30:50, 60:100] = np.array([250.0, 200.0, 20.0])[:, None, None]
    return planes


def graph(tensors, network):
    nodes, taps = [], []

    def convolution(name, x, stride, padding):
        nodes.append(helper.make_node("Conv", [x, f"{name}.weight"], [f"{name}.out"], strides=[stride] * 2,
                                      pads=[padding] * 4))
        return f"{name}.out"

    def norm(name, x):
        inputs = [x] + [f"{name}.{part}" for part in ("weight", "bias", "running_mean", "running_var")]
        nodes.append(helper.make_node("BatchNormalization", inputs, [f"{name}.out"], epsilon=network["eps"]))
        return f"{name}.out"

    def relu(x):
        nodes.append(helper.make_node("Relu", [x], [f"{x}.relu"]))
        return f"{x}.relu"

    def tap(name, x):
        nodes.append(helper.make_node("Identity", [x], [name]))
        taps.append(name)

    x = relu(norm("bn1", convolution("conv1", "image", 2, 3)))
    nodes.append(helper.make_node("MaxPool", [x], ["pooled"], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4))
    x = "pooled"
    tap("stem", x)
    for stage in range(network["stages"]):
        for block in range(BLOCKS[stage]):
            prefix = f"layer{stage + 1}.{block}"
            stride = 2 if stage > 0 and block == 0 else 1
            stride1, stride2 = (stride, 1) if network["stride_in_first"] else (1, stride)
            y = relu(norm(f"{prefix}.bn1", convolution(f"{prefix}.conv1", x, stride1, 0)))
            y = relu(norm(f"{prefix}.bn2", convolution(f"{prefix}.conv2", y, stride2, 1)))
            y = norm(f"{prefix}.bn3", convolution(f"{prefix}.conv3", y, 1, 0))
            if block == 0:
                x = norm(f"{prefix}.downsample.1", convolution(f"{prefix}.downsample.0", x, stride, 0))
            nodes.append(helper.make_node("Add", [y, x], [f"{prefix}.sum"]))
            x = relu(f"{prefix}.sum")
        tap(f"layer{stage + 1}", x)
    constants = [onnx.numpy_helper.from_array(tensors[name].astype(np.float32), name) for name in sorted(tensors)]
    inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, ROWS, COLUMNS])]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in taps]
    model = helper.make_model(helper.make_graph(nodes, "resnet50", inputs, outputs, constants),
                              opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return model, taps


def main(directory):
    reference = {"made_by": f"make_resnet_reference.py, onnxruntime {onnxruntime.__version__}, numpy {np.__version__}",
                 "rows": ROWS, "columns": COLUMNS, "networks": {}}
    for name, network in NETWORKS.items():
        tensors = load_file(f"{directory}/{network['file']}")
        model, taps = graph(tensors, network)
        options = onnxruntime.SessionOptions()
        # Nothing is fused: the reference is the graph as written.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(model.SerializeToString(), options)
        pixels = image()
        if network["caffe"]:
            pixels -= np.array([123.68, 116.779, 103.939])[:, None, None]
        else:
            pixels = (pixels / 255 - np.array([0.485, 0.456, 0.406])[:, None, None])
            pixels /= np.array([0.229, 0.224, 0.225])[:, None, None]
        outputs = session.run(taps, {"image": pixels[None].astype(np.float32)})
        reference["networks"][name] = {}
        for tap, output in zip(taps, outputs):
            values = output[0].reshape(-1)
            # A step that is coprime to every size spreads the samples over channels, rows and columns.
            positions = [int(i * 104_729 % values.size) for i in range(96)] + [0, values.size - 1, int(values.argmax())]
            reference["networks"][name][tap] = {
                "shape": list(output.shape[1:]),
                "max": float(values.max()),
                "mean": float(values.astype(np.float64).mean()),
                "positions": positions,
                "values": [float(f"{values[i]:.9g}") for i in positions],
            }
    json.dump(reference, sys.stdout, separators=(",", ":"))
    sys.stdout.write("\n")


if __name__ == "__main__":
    main(sys.argv[1])
