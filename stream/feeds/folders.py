"""Which files of a folder are footage."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import av
import av.error

from stream.errors import SourceError

from .addresses import display_name
from .times.recorded import name_order
from .tracks import PICTURE_FORMATS, TEXT_FORMATS, find_film


def _suffixes(names: str) -> frozenset[str]:
    return frozenset(f".{name}" for name in names.split())


#: A hint for folders: files with these suffixes are taken unseen. A file that is named is opened whatever its name.
VIDEO_SUFFIXES: Final = _suffixes(
    "mp4 m4v mp4v mov qt 3gp 3g2 f4v ismv mkv webm avi divx ts m2ts mts m2t trp tod mod mpg mpeg mpv m2v m1v vob flv "
    "wmv asf ogv ogm rm rmvb dv mxf nut ivf obu y4m mjpeg mjpg h264 264 avc h265 265 hevc dav insv lrv wtv"
)
#: Files that lie beside footage and need not be opened to know that they are none. A picture is no footage, also where
#: it moves.
_OTHER_SUFFIXES: Final = _suffixes(
    "txt md csv tsv json jsonl xml yaml yml toml ini cfg log html htm pdf doc docx xls xlsx py sh js css srt vtt ass "
    "sub idx nfo md5 sha1 sha256 zip gz tar 7z rar bak tmp db lnk jpg jpeg png gif apng webp bmp tif tiff heic heif "
    "avif svg ico thm psd dng raw npy npz pkl wav mp3 aac m4a flac ogg oga opus wma mka ac3 amr safetensors onnx pt "
    "pth bin"
)
#: How the names of demuxers end that read no footage.
_NOT_FOOTAGE: Final = (*TEXT_FORMATS, *PICTURE_FORMATS, "gif", "apng", "webp")
#: Files of unknown suffixes and unknown beginnings that are opened to see what they are.
_MAX_OPENED: Final = 200
_NAMED: Final = 3


def find_files(path: Path, left_out: list[str] | None = None) -> list[Path]:
    """The video files that `path` stands for: itself, or those in a folder, in the order of their names.

    Links are followed, and what two of them lead to is taken once.

    Args:
        path: a file, whatever its name, or a folder.
        left_out: gets a line for each reason why files of a folder are left out.

    Raises:
        SourceError: there is no such path, or the folder holds no video file.
    """
    if not path.is_dir():
        if not path.is_file():
            why = "neither a file nor a folder (a pipe or a device?)" if path.exists() else "no such file or folder"
            raise SourceError(f"{display_name(str(path))}: {why}", cause=why)
        return [path]
    search = _Search(path)
    files = sorted(search.films(), key=name_order)
    if not files:
        why = "the folder holds no video file"
        raise SourceError(f"{path}: {'; '.join([why, *search.left_out()])}", cause=why)
    if left_out is not None:
        left_out += search.left_out()
    return files


class _Search:
    """Goes through a folder once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._others: dict[str, list[Path]] = defaultdict(list)  # by reason
        self._links: list[Path] = []
        self._seen: set[str] = set()
        self._opened = 0

    def films(self) -> Iterator[Path]:
        return (file for file in self._files() if self._is_film(file))

    def left_out(self) -> list[str]:
        lines = []
        for reason, files in self._others.items():
            names = ", ".join(os.path.relpath(file, self._folder) for file in files[:_NAMED])
            more = f" and {len(files) - _NAMED} more" if len(files) > _NAMED else ""
            what = f"{len(files)} files are {reason} ({names}{more})" if len(files) > 1 else f"{names} is {reason}"
            lines.append(f"{self._folder}: {what}")
        return lines

    def _files(self) -> Iterator[Path]:
        """The files below the folder, each once."""
        for root, folders, names in os.walk(self._folder, followlinks=True, onerror=self._note):
            real = os.path.realpath(root)
            if real in self._seen:  # a link back, or a second one
                folders.clear()
                continue
            self._seen.add(real)
            hidden = [name for name in (*folders, *names) if name.startswith(".")]
            # Among them the "._name" that macOS leaves on foreign disks: it ends in .mp4 and is none.
            self._others["hidden"] += [Path(root, name) for name in hidden]
            # Folders themselves come before links to them.
            folders[:] = sorted(set(folders) - set(hidden), key=lambda name: (Path(root, name).is_symlink(), name))
            for name in sorted(set(names) - set(hidden)):
                yield from self._file(Path(root, name), f"{real}{os.sep}{name}")
        for link in self._links:
            yield from self._linked(link)
        if not self._others["hidden"]:
            del self._others["hidden"]

    def _file(self, file: Path, real: str) -> Iterator[Path]:
        if file.is_symlink():
            self._links.append(file)
        elif file.is_file():
            self._seen.add(real)
            yield file
        elif file.exists():
            self._others["no regular file"].append(file)

    def _linked(self, link: Path) -> Iterator[Path]:
        target = os.path.realpath(link)
        if not link.exists():
            self._others["a link that leads nowhere"].append(link)
        elif target in self._seen:
            self._others["a second link to a file"].append(link)
        elif link.is_file():
            self._seen.add(target)
            yield link
        elif not link.is_dir():
            self._others["a link to no regular file"].append(link)

    def _is_film(self, file: Path) -> bool:
        suffix = file.suffix.lower()
        if suffix in VIDEO_SUFFIXES:
            return True
        if suffix not in _OTHER_SUFFIXES:
            try:
                with file.open("rb") as opened:
                    head = opened.read(1024)
            except OSError as error:
                self._note(error)
                return False
            if _begins_like_film(head):
                return True
            if not _is_text(head):
                if self._opened >= _MAX_OPENED:
                    self._others["of an unknown kind"].append(file)
                    return False
                self._opened += 1
                if _opens_as_film(file):
                    return True
        self._others["not video"].append(file)
        return False

    def _note(self, error: OSError) -> None:
        self._others[f"not readable: {error.strerror}"].append(Path(error.filename))


def _begins_like_film(head: bytes) -> bool:
    if head.startswith((b"FLV\x01", b"\0\0\1\xba", b"DHAV", b"DKIF", b"YUV4MPEG2")):
        return True
    is_ts = any(head[at : at + 377 : 188] == b"\x47" * 3 for at in (0, 4))
    return is_ts or head[4:8] in (b"ftyp", b"moov") or (head[:4] == b"RIFF" and head[8:12] == b"AVI ")


def _is_text(head: bytes) -> bool:
    try:
        head[: len(head) - 4 if len(head) == 1024 else None].decode("utf-8")  # the last character may be cut
    except UnicodeDecodeError:
        return False
    return b"\0" not in head


def _opens_as_film(file: Path) -> bool:
    try:
        with av.open(f"file:{file}", "r", metadata_errors="replace") as container:
            film = find_film(container.streams.video)
            return not container.format.name.endswith(_NOT_FOOTAGE) and film is not None and bool(film.codec_context)
    except (av.error.FFmpegError, OSError, ValueError):
        return False
