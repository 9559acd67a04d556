"""The sections of who reads cameras: where they are, how footage is cut, what waits while the broker is away."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import Field, PrivateAttr, ValidationInfo, model_validator

from consumers.settings.addresses import references, resolve
from consumers.settings.section import (
    MAX_HOURS,
    MAX_MEGABYTES,
    MAX_SECONDS,
    PART,
    Address,
    Section,
    SettingsError,
    only_line,
)
from stream import Reading, SegmentLimits, is_live


class CameraSettings(Section):
    """One camera, [cameras.NAME]: either `url` or `url_file`."""

    url: Address | None = Field(
        None,
        examples=["rtsp://${DOCK_USER}:${DOCK_PASSWORD}@10.0.0.7/stream"],
        min_length=1,
        description="Its address, rtsp://…, or a video file or a folder of them. ${NAME} stands for an environment "
        "variable, so that no password stands in this file.",
    )
    url_file: Path | None = Field(
        None,
        examples=["/run/secrets/dock-1"],
        description="A file that holds the address on its only line, for example a mounted secret.",
    )
    loop: bool = Field(
        False,  # noqa: FBT003  a default
        description="Begin again at the end of footage. Not for rtsp:// cameras, which have no end.",
    )
    transcode: bool = Field(
        False,  # noqa: FBT003  a default
        description="Encode video once as H.264 where segments cannot carry its codec as it is. It costs a core or "
        "more a camera.",
    )
    fps: float | None = Field(
        None,
        gt=0,
        le=1000,
        examples=[12.5],
        description="Pictures a second of a stream that has no times of its own (raw H.264, for example). What the "
        "stream says, else 25, if not set.",
    )
    #: Its key under [cameras], for messages.
    _name: str = PrivateAttr("camera")

    @model_validator(mode="after")
    def _has_one_address(self, info: ValidationInfo) -> CameraSettings:
        given = [self.url, self.url_file]
        # The file and the environment may each give a part of a camera.
        if all(given) or not (any(given) or info.context == PART):
            raise ValueError("expected either url or url_file")
        if self.url is not None:
            self._check_loop(self.url)
        return self

    def _check_loop(self, address: str) -> None:
        if self.loop and is_live(address):
            raise ValueError("loop is for footage; a camera has no end")

    def address(self, environment: Mapping[str, str] | None = None) -> str:
        """Where the video is, with every reference resolved. Holds the password: show it with `display_name`.

        A variable that stands before the '@' is taken as it is (not percent-encoded), as password managers give it.

        Raises:
            SettingsError: a variable is not set, or the file cannot be read or does not hold one address.
        """
        if self.url is not None:
            try:
                return resolve(self.url, os.environ if environment is None else environment)
            except ValueError as error:
                raise SettingsError(f"cameras.{self._name}.url: {error}") from None
        assert self.url_file is not None
        address = only_line(self.url_file, f"cameras.{self._name}.url_file", "address")
        try:
            self._check_loop(address)
        except ValueError as error:
            raise SettingsError(f"cameras.{self._name}: {error}") from None
        return address

    @property
    def reading(self) -> Reading:
        return Reading(self.fps, self.transcode)

    def references(self) -> list[str]:
        """The environment variables that the address refers to."""
        return references(self.url or "")


class SegmentSettings(Section):
    """How a camera's stream is cut into segments, the records on the segments topic."""

    min_seconds: float = Field(0.5, gt=0, le=MAX_SECONDS, description="Seconds that a segment lasts at least.")
    max_seconds: float = Field(
        2.0,
        gt=0,
        le=MAX_SECONDS,
        description="Seconds after which a segment ends at the next keyframe. Longer segments add delay.",
    )
    max_megabytes: float = Field(8.0, gt=0, le=9, description="Megabytes (1,048,576 bytes) of a segment at most.")
    max_gap_seconds: float = Field(
        10.0,
        gt=0,
        le=MAX_SECONDS,
        description="Seconds between two frames beyond which the stream counts as interrupted.",
    )

    @property
    def limits(self) -> SegmentLimits:
        return SegmentLimits(
            self.min_seconds,
            self.max_seconds,
            int(self.max_megabytes * 1024 * 1024),
            self.max_gap_seconds,
        )

    @model_validator(mode="after")
    def _limits_agree(self) -> SegmentSettings:
        _ = self.limits
        return self


class SpoolSettings(Section):
    """Where an agent keeps segments of live cameras on disk while the broker is away."""

    folder: Path = Field(
        Path("~/.local/state/clipline/spool"),
        description="Folder for segments that wait, one folder below it for each agent. It is made when it is needed.",
    )
    max_megabytes: float = Field(
        2000.0,
        gt=0,
        le=MAX_MEGABYTES,
        description="Megabytes of segments that an agent keeps there, at most. The oldest are dropped first, and "
        "counted as skipped (spool_full).",
    )
    max_hours: float = Field(
        24.0,
        gt=0,
        le=MAX_HOURS,
        description="Hours after which a segment that waits is dropped, and counted as skipped (spool_expired).",
    )
