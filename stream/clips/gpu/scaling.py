"""What `Scaler` makes of a picture, made where the picture is: on a GPU, of NV12, with torch.

Scaling is two products of matrices, which any GPU does and each does alike; colours follow from the matrix that the
picture names. It rounds once, at the end, where swscale rounds at each step: see tests/test_gpu_decoding.py for how far
the two are apart.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Final

import av
import numpy as np
import torch
from av.video.reformatter import ColorRange
from torch.utils.dlpack import from_dlpack

from stream.clips.pictures import Image, Picture, Scaler
from stream.segment import Display

#: The shares of red and blue in brightness by the matrix's number in ISO/IEC 23091-2; others are read as 5, as swscale
#: reads them.
_SHARES: Final = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
}
_WEIGHTS_KEPT: Final = 64


class GpuScaler(Scaler):
    """One per decoder, as `Scaler`; a picture that is not NV12 on a GPU is scaled as there."""

    def __init__(
        self, picture: Picture, display: Display, max_pixels: int, note: Callable[[av.VideoFrame], None]
    ) -> None:
        """Prepare; `note` hears of each picture before it is scaled."""
        super().__init__(picture, display, max_pixels)
        self._note = note

    def _scaled(self, frame: av.VideoFrame, width: int, height: int) -> Image:
        self._note(frame)
        planes = self._planes(frame)
        if planes is None:
            return super()._scaled(frame, width, height)
        is_full = frame.color_range == ColorRange.JPEG
        image: Image = small_rgb(*planes, width, height, frame.colorspace, is_full=is_full).cpu().numpy()
        return image

    def _planes(self, frame: av.VideoFrame) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Brightness and colours of a picture of NV12 on the GPU, where they are; of others none."""
        form = frame.sw_format
        if frame.format.name != "cuda" or form is None or form.name != "nv12":
            return None
        return planes_of(frame)


def planes_of(frame: av.VideoFrame) -> tuple[torch.Tensor, torch.Tensor]:
    """A picture of NV12 as `small_rgb` takes it, without a copy."""
    luma, chroma = frame.planes
    # By capsules: libav's work on the picture and torch's are in one queue, the device's default, in this order.
    # (Asked by torch itself, PyAV is given a queue's name, and refuses.)
    return from_dlpack(luma.__dlpack__()), from_dlpack(chroma.__dlpack__())


def small_rgb(
    luma: torch.Tensor, chroma: torch.Tensor, width: int, height: int, matrix: int, *, is_full: bool
) -> torch.Tensor:
    """A picture of NV12, on whatever device, in another size and in RGB.

    Args:
        luma: (H, W) uint8.
        chroma: (H / 2, W / 2, 2) uint8: blue's difference from brightness, and red's.
        width: of the result.
        height: of the result.
        matrix: by which colours are coded, a number of ISO/IEC 23091-2.
        is_full: whether brightness is from 0 to 255, not from 16 to 235.

    Returns:
        (height, width, 3) uint8 on the same device. Each pixel is the mean of what it covers, where the picture is
        larger; between its neighbours, where it is smaller.
    """
    y = _resized(luma, height, width)
    # Half as many columns, each for two pixels: swscale makes colours so.
    cb, cr = (_resized(chroma[..., i], height, -(-width // 2)).repeat_interleave(2, 1)[:, :width] for i in (0, 1))
    if not is_full:
        y = (y - 16) * (255 / 219)
    cb, cr = ((each - 128) * (1 if is_full else 255 / 224) for each in (cb, cr))
    red, blue = _SHARES.get(matrix, _SHARES[5])
    r, b = y + 2 * (1 - red) * cr, y + 2 * (1 - blue) * cb
    g = (y - red * r - blue * b) / (1 - red - blue)
    return torch.stack([r, g, b], 2).round().clamp(0, 255).to(torch.uint8)


def _resized(plane: torch.Tensor, height: int, width: int) -> torch.Tensor:
    rows, columns = (_weights(*sizes, plane.device) for sizes in ((plane.shape[0], height), (plane.shape[1], width)))
    return rows @ plane.float() @ columns.T


@functools.lru_cache(_WEIGHTS_KEPT)
def _weights(before: int, after: int, device: torch.device) -> torch.Tensor:
    """(after, before) float32: how much of each old row, or column, is in each new one."""
    ratio, old = before / after, np.arange(before)
    if ratio >= 1:
        begins = np.arange(after)[:, None] * ratio
        shares = np.minimum(begins + ratio, old + 1) - np.maximum(begins, old)
    else:
        centres = ((np.arange(after) + 0.5) * ratio - 0.5).clip(0, before - 1)
        shares = 1 - np.abs(centres[:, None] - old)
    shares = shares.clip(0)
    return torch.from_numpy((shares / shares.sum(1, keepdims=True)).astype(np.float32)).to(device)
