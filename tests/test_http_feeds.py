"""What comes by HTTP: a film is sent once, a picture after the other without end is a camera."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import pytest

from stream import Attached, Headers, Segment, attach
from tests.videos import write_video

FRAMES = 50


class _Server(SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path != "/live":
            super().do_GET()
            return
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace;boundary=picture")
        self.end_headers()
        pictures = [path.read_bytes() for path in sorted(Path(self.directory).glob("*.jpg"))]
        try:
            for n in range(1000):
                picture = pictures[n % len(pictures)]
                head = f"--picture\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
                self.wfile.write(head.encode() + picture + b"\r\n")
                time.sleep(0.05)
        except OSError:
            pass  # nobody looks any more

    def log_message(self, *_: object) -> None: ...


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("http")
    film = write_video(folder / "film.mkv", FRAMES, rate=25, gop=10, size=(64, 48), options={"bf": "0"})
    with av.open(str(film)) as opened:
        for number, frame in enumerate(opened.decode(video=0)):
            if number < 5:
                frame.to_image().save(folder / f"{number}.jpg")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Server, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class Sender:
    def __init__(self) -> None:
        self.segments: list[Segment] = []
        self.late: list[float] = []

    def send(self, topic: str, key: bytes, headers: Headers, value: bytes) -> None:
        self.segments.append(Segment.decode(key, headers, value, topic))
        self.late.append(time.time() - self.segments[-1].end_us / 1e6)

    def flush(self) -> None: ...


def test_a_film_is_sent_once_from_its_start(address):
    sender = Sender()
    state = attach(f"HTTP{address[4:]}/film.mkv", "film", sender, "segments", pace="max", start_us=5_000_000)
    assert state.frames == FRAMES
    assert sender.segments[0].epoch_us == 5_000_000
    assert sum(s.is_end for s in sender.segments) == 1


def test_pictures_without_end_are_a_camera_of_the_rate_at_which_they_come(address):
    sender, state = Sender(), Attached()
    attach(f"{address}/live", "door", sender, "segments", stop=lambda: len(sender.segments) > 4, state=state)
    rates = [s.frames / s.seconds for s in sender.segments[2:5]]
    assert max(sender.late) < 1.5
    assert all(5 < rate < 22 for rate in rates), rates  # libav would have it 25, and a busy machine sends fewer
