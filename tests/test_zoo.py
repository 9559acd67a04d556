"""Every architecture is built, run and converted; stepping equals the whole clip; inflation keeps still pictures."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from models import Classifier, UnknownModelError
from models.networks.cnn_lstm import CnnLstm, image_network
from models.networks.inflation import InflatedLite0
from models.networks.movenet import PoseBackbone
from models.networks.zoo import ARCHITECTURES, create, describe, parameters_and_multiply_adds
from tests.checkpoints import write_checkpoint

#: Frames and size at which a network runs in well under a second, where those it was designed for take longer.
REDUCED = {"mvit_v2_s": (16, 224), "mvit_base_16x4": (4, 64), "s3d": (16, 64), "slowfast_r50": (8, 64)}
BACKBONES = (
    "cnn_lstm:movenet",
    "cnn_lstm:torchvision/resnet18",
    "cnn_bilstm:torchvision/mobilenet_v3_small",
    "cnn_lstm:timm/resnet10t",
    "cnn_bilstm:timm/mobilenetv3_small_100",
)


#: One of each kind is looked at every time; the others take minutes together and rarely fail.
QUICK = {"x3d_xs", "cnn_lstm", "movenet_motion"}


@pytest.mark.parametrize(
    "architecture",
    [
        pytest.param(name, marks=() if name in QUICK else pytest.mark.slow, id=name)
        for name in (*ARCHITECTURES, *BACKBONES)
    ],
)
def test_every_architecture_runs_and_is_served_by_openvino_as_by_torch(tmp_path: Path, architecture: str) -> None:
    views = describe(architecture).views
    frames, size = REDUCED.get(architecture, (4, 96 if views == 2 else 64))
    shape = {"frames": frames, "height": size, "width": size, "views": views}
    path = write_checkpoint(tmp_path / "m.safetensors", architecture, **shape)
    clip = np.random.default_rng(0).integers(0, 256, (frames, size, size, 3), np.uint8)
    expected = Classifier.load(str(path), engine="torch").predict(clip)
    assert expected.shape == (2,)
    assert expected.sum() == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(Classifier.load(str(path), engine="openvino-f32").predict(clip), expected, atol=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "millions", "billions"),
    # Parameters and multiply-adds that the authors publish: SlowFast's model zoo for X3D, torchvision's for the others.
    [("x3d_xs", 3.8, 0.60), ("x3d_s", 3.8, 1.96), ("x3d_m", 3.8, 4.73), ("x3d_l", 6.2, 18.37), ("r3d_18", 33.4, 40.7)],
)
def test_cost_is_what_the_authors_publish(architecture: str, millions: float, billions: float) -> None:
    parameters, multiply_adds = parameters_and_multiply_adds(architecture)
    assert parameters / 1e6 == pytest.approx(millions, abs=0.06)
    assert multiply_adds / 1e9 == pytest.approx(billions, rel=0.02)


@pytest.mark.parametrize("architecture", ["r3d_18", "mc3_18", "r2plus1d_18", "s3d", "mvit_v2_s", "swin3d_t"])
def test_published_accuracy_is_the_one_torchvision_states(architecture: str) -> None:
    from torchvision.models import get_model_weights

    published = describe(architecture).published
    assert published is not None
    stated = get_model_weights(architecture).DEFAULT.meta["_metrics"]["Kinetics-400"]["acc@1"]
    assert published.top1_percent == stated


def test_unknown_image_network_is_named() -> None:
    with pytest.raises(UnknownModelError, match="torchvision has no image network 'resnet19'"):
        create("cnn_lstm:torchvision/resnet19", 2)
    with pytest.raises(UnknownModelError, match="expected lite0, movenet, torchvision/NAME or timm/NAME"):
        create("cnn_lstm:vgg", 2)
    with pytest.raises(UnknownModelError, match="did you mean"):
        create("x3d_s:torchvision/resnet18", 2)


def test_stepping_frame_by_frame_equals_the_whole_clip() -> None:
    torch.manual_seed(0)
    network = CnnLstm(3).eval()
    clips = torch.randn(2, 3, 5, 64, 64)
    with torch.inference_mode():
        state = None
        for t in range(clips.shape[2]):
            logits, state = network.forward_step(clips[:, :, t], state)
            torch.testing.assert_close(logits, network(clips[:, :, : t + 1]), atol=1e-5, rtol=1e-5)
    assert state is not None
    assert state.frames == 5


def test_network_that_looks_both_ways_refuses_to_step() -> None:
    with pytest.raises(TypeError, match="needs the whole clip"):
        CnnLstm(2, bidirectional=True).forward_step(torch.zeros(1, 3, 64, 64))


def test_inflated_network_sees_a_still_picture_as_the_image_network_does() -> None:
    picture = torch.randn(1, 3, 64, 64)
    image = image_network(pretrained=True).eval()
    video = InflatedLite0(2, pretrained=True).eval()
    with torch.inference_mode():
        expected = image.extract_features(picture).mean((2, 3))
        still = video.backbone.extract_features(picture[:, :, None].expand(-1, -1, 6, -1, -1)).mean((2, 3, 4))
        moving = video.backbone.extract_features(torch.randn(1, 3, 6, 64, 64)).mean((2, 3, 4))
    torch.testing.assert_close(still, expected, atol=1e-3, rtol=1e-3)
    assert (moving - expected).abs().max() > 0.01


@pytest.mark.parametrize("size", [(32, 32), (33, 33), (32, 35), (75, 50), (176, 176)])
def test_pose_network_halves_pictures_of_any_size_as_tensorflow_does(size):
    """SAME gives ceil(n / 2) at each stride of two; 176 and 50 become odd on the way down."""
    height, width = size
    backbone = PoseBackbone().eval()
    with torch.no_grad():
        maps = backbone(torch.rand(1, 3, height, width))

    def halved(length: int, times: int) -> int:
        return length if not times else halved(math.ceil(length / 2), times - 1)

    assert [tuple(m.shape[2:]) for m in maps] == [
        (halved(height, times), halved(width, times)) for times in (4, 4, 5, 5)
    ]


@pytest.mark.parametrize(("length", "begins"), [(6, (0, 2, 4)), (7, (-1, 1, 3, 5))])
def test_pose_network_looks_where_tensorflow_looks(length, begins):
    """SAME's zeros: of an odd number one more after than before, so an even picture begins with its first pixel."""
    layer = PoseBackbone().stem
    with torch.no_grad():
        layer.conv.weight.fill_(1.0)
        layer.conv.bias.zero_()
        layer._bounded = False
        pixels = torch.zeros(1, 3, length, length)
        pixels[0, 0] = torch.arange(length).float() + 1  # a picture that brightens to the right
        seen = layer(pixels)[0, 0, 1]
    rows = 3  # all three rows of the window lie inside the picture
    expected = [rows * sum(p + 1 for p in range(b, b + 3) if 0 <= p < length) for b in begins]
    assert seen.tolist() == expected
