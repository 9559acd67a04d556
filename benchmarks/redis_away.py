"""Redis is away for an hour: do the topics go on, does anything grow, and is Redis right when it is back?

    python benchmarks/redis_away.py [--minutes 60] [--cameras 4]

`clipline run` on Apache Kafka, as in soak.py. After two minutes Redis gets SIGKILL; it comes back empty. Printed are
the growth of each process an hour while it was away, the predictions that came meanwhile, and how long after its
return `clipline redis check` found it as the topics are. Writes build/redis-away.json; exits with 1 where a process
ended or grew by more than soak.py allows, no prediction came, or Redis was not right within five minutes.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Final

from chaos_services import KillableRedis, ProxiedBroker, Proxy
from chaos_stand import Command
from footage import Footage, footage
from soak import LIMITS, processes, sample, settings, slope

from consumers.settings.loading import load_settings
from stream import KafkaTransport

_SAMPLE_SECONDS: Final = 10.0
_BEFORE_SECONDS: Final = 120.0
_RIGHT_WITHIN_SECONDS: Final = 300.0


def is_right(file: Path) -> bool:
    """Whether Redis is as the topics are."""
    words = [sys.executable, "-m", "consumers.cli", "redis", "check", "--settings", str(file)]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--cameras", type=int, default=4)
    options = parser.parse_args()
    film = footage(Footage(60, 320, 240, rate=5, gop=10, bits_per_second=100_000), Path("build"))
    folder = Path(tempfile.mkdtemp(prefix="clipline-redis-away-"))
    proxy = Proxy()
    points: dict[str, list[tuple[float, float]]] = defaultdict(list)
    with ProxiedBroker(folder / "kafka", proxy) as broker, KillableRedis() as server:
        file = folder / "clipline.toml"
        address = broker.proxied_address
        text = settings(address, server.address, film.resolve(), options.cameras, 1, folder / "logs")
        file.write_text(text, "utf-8")
        topic, transport = load_settings(file).topics.predictions, KafkaTransport(address)

        command = Command("run", ["run"], file, folder)
        try:
            command.start()
            time.sleep(_BEFORE_SECONDS)
            assert command.process is not None
            first, before = processes(command.process.pid), transport.offsets(topic)
            server.kill()
            began = time.monotonic()
            while (passed := time.monotonic() - began) < options.minutes * 60:
                time.sleep(_SAMPLE_SECONDS)
                if not command.runs or (now := processes(command.process.pid)) != first:
                    sys.exit(f"a process has ended: see {folder}")
                for name, process in now.items():
                    for quantity, value in sample(process).items():
                        points[f"{name} {quantity}"].append((passed, value))
                newest = {name: round(values[-1][1], 1) for name, values in points.items()}
                print(f"{passed:6.0f} s {json.dumps(newest)}", flush=True)
            ends = {partition: end for partition, (_, end) in transport.offsets(topic).items()}
            meanwhile = sum(1 for _ in transport.read({p: (before[p][1], end) for p, end in ends.items()}))
            server.__enter__()
            back = time.monotonic()
            while not (right := is_right(file)) and time.monotonic() < back + _RIGHT_WITHIN_SECONDS:
                time.sleep(1.0)
            right_after = round(time.monotonic() - back, 1) if right else None
        finally:
            command.finished = True
            command.end()
            proxy.close()
    slopes = {name: round(slope(values), 2) for name, values in points.items()}
    result = {
        "minutes": options.minutes,
        "cameras": options.cameras,
        "predictions_meanwhile": meanwhile,
        "right_after_seconds": right_after,
        "growth_an_hour": slopes,
        "grew": {name: value for name, value in slopes.items() if value > LIMITS[name.split()[-1]]},
        "last": {name: round(values[-1][1], 1) for name, values in points.items()},
    }
    Path("build/redis-away.json").write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    print(json.dumps(result, indent=2))
    if result["grew"] or not meanwhile or right_after is None:
        sys.exit(1)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
