"""Cameras, workers, brokers and a Redis, hurt at random instants; then every window and report is counted.

    python benchmarks/chaos.py                                 one run, about two minutes
    python benchmarks/chaos.py --kills 300 --seconds 300       runs until so many processes were killed
    python benchmarks/chaos.py --brokers 3                     on three brokers, of which one at a time is killed
    python benchmarks/chaos.py --seed 7 --runs 1               a run again
    python benchmarks/chaos.py --faults kill_worker,stop_worker

Real commands on Apache Kafka, with its data on disk, behind a proxy that can be slow or cut. When the faults are over,
what was published (read committed) is compared with what `clipline replay` makes of the same segments, and of the same
films. Writes build/chaos.json, and exits with 1 if a window or a report was lost, doubled, or is another, if frames or
segments have no fate, or if a process did what it may not.
"""

from __future__ import annotations

import argparse
import functools
import json
import logging
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

from chaos_faults import FAULTS
from chaos_judge import Judge, Verdict, committed
from chaos_services import Brokers, KillableRedis, LiveFeeds
from chaos_stand import FOOTAGE, Plan, Stand

from consumers.live.assemble import clip_spec
from consumers.live.effort.stillness import StillRule
from consumers.outputs.redis.check import redis_differences
from consumers.replaying.run import ScoringSetup
from consumers.rules.rule_set import RuleSet
from consumers.settings.loading import load_settings
from models import Classifier
from stream import KafkaTransport

#: How often one fault follows another at once.
_AT_ONCE: Final = 0.25
#: Windows, reports and frames are counted; all else is to be 0.
_COUNTED: Final = {"windows", "events", "frames"}


def run(plan: Plan, folder: Path) -> tuple[dict[str, list[str]], dict[str, Any]]:
    """Run once; return what differs, and the figures."""
    chance = random.Random(plan.seed)  # noqa: S311  a run that can be run again
    redis = KillableRedis()
    with Brokers(folder, plan.brokers) as brokers, LiveFeeds(FOOTAGE) as feeds:
        redis.__enter__()
        try:
            file = folder / "clipline.toml"
            file.write_text(_settings(brokers.address, redis.address, plan.model, folder), "utf-8")
            stand = Stand(plan, folder, chance, brokers, redis, feeds, load_settings(file), file)
            began = time.monotonic()
            try:
                stand.start()
                _hurt(stand)
                hurt_seconds = time.monotonic() - began
                stand.rest()
            finally:
                stand.kill_all()
            for ended in stand.supervised:
                if ended.endings:
                    print(f"  {ended.name} ended by itself with {ended.endings}")
            verdict = _judge(stand)
            differences = verdict.differences | ({"violations": stand.violations} if stand.violations else {})
            return differences, {
                "seed": plan.seed,
                "seconds": round(time.monotonic() - began),
                "hurt_seconds": round(hurt_seconds),
                "kills": stand.kills,
                "faults": dict(stand.done),
                "ended_by_themselves": sum(len(ended.endings) for ended in stand.supervised),
                "left_on_disk": len(list((folder / "spool").rglob("*.segment"))),
                **verdict.figures(),
                "violations": len(stand.violations),
            }
        finally:
            redis.__exit__(None, None, None)


def _hurt(stand: Stand) -> None:
    names = list(stand.plan.faults or FAULTS)
    weights = [FAULTS[name][1] for name in names]
    stand.wait(6.0)
    began = time.monotonic()
    while (seconds := time.monotonic() - began) < stand.plan.seconds:
        (name,) = stand.random.choices(names, weights)
        if not FAULTS[name][0](stand):
            stand.wait(0.1)
            continue
        stand.done[name] += 1
        print(f"  {seconds:5.1f} s {name}", flush=True)
        pause = stand.random.expovariate(1 / stand.plan.pause_seconds)
        stand.wait(0.0 if stand.random.random() < _AT_ONCE else pause)


def _judge(stand: Stand) -> Verdict:
    settings = stand.settings
    classifier = Classifier.load(settings.worker.model, engine=settings.worker.engine)
    rules = RuleSet(classifier.contract, settings.tracker, settings.rules).base
    spec = clip_spec(classifier.contract, settings.worker.stride_seconds)
    judge = Judge(
        settings,
        ScoringSetup(
            classifier,
            spec,
            still=StillRule.of(rules, settings.gates, spec.context),
        ),
        rules,
        KafkaTransport(settings.kafka),
        functools.partial(committed, settings.kafka),
        stand.folder / "traces",
        classifier.engine,
    )
    verdict = judge.judge(stand.cameras, stand.films)
    verdict.redis_mismatch += redis_differences(judge.transport, settings)
    return verdict


def _settings(kafka: str, redis: str, model: str, folder: Path) -> str:
    return f"""
kafka = "{kafka}"
redis = "{redis}"

[worker]
start = "earliest"
model = "{model}"
engine = "openvino-f32"
threads = 1

[topics]
partitions = 6

[tracker]
min_seconds = 1.0
cooldown_seconds = 2.0
update_seconds = 3.0

[tracker.labels.fight]
start = 0.3
end = 0.25

[spool]
folder = "{folder / "spool"}"
max_megabytes = 0.3

[run]
services = "own"
max_restarts = 1000
log_folder = "{folder / "house"}"
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1, help="of the first run; each further one adds one")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--kills", type=int, default=0, help="run until so many processes were killed")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long each run is hurt")
    parser.add_argument("--brokers", type=int, default=1, help="1, or 3 with every record on all of them")
    parser.add_argument("--faults", default="", help=f"of {', '.join(FAULTS)}")
    parser.add_argument("--keep", action="store_true", help="keep the folder with logs and the broker's data")
    options = parser.parse_args()
    # That servers ended is what this is about.
    logging.getLogger("stream.services").setLevel(logging.ERROR)
    faults = tuple(filter(None, options.faults.split(",")))
    if unknown := set(faults) - set(FAULTS):
        parser.error(f"unknown faults {', '.join(unknown)}: expected some of {', '.join(FAULTS)}")
    runs: list[dict[str, Any]] = []
    while len(runs) < options.runs or sum(each["kills"] for each in runs) < options.kills:
        plan = Plan(options.seed + len(runs), options.seconds, brokers=options.brokers, faults=faults)
        folder = Path(tempfile.mkdtemp(prefix="clipline-chaos-"))
        print(f"seed {plan.seed}, in {folder}", flush=True)
        differences, figures = run(plan, folder)
        runs.append(figures)
        print(f"seed {plan.seed}: {json.dumps(figures)}", flush=True)
        for kind, found in differences.items():
            for each in found[:5]:
                print(f"  {kind}: {each}")
        if differences:
            more = f" --brokers {plan.brokers}" if plan.brokers > 1 else ""
            print(f"To run it again: python benchmarks/chaos.py --seed {plan.seed} --seconds {plan.seconds:g}{more}")
        elif not options.keep:
            shutil.rmtree(folder)
        _write(runs)
    total = _sum(runs)
    print(json.dumps({name: value for name, value in total.items() if name != "each"}))
    sys.exit(1 if any(total[name] for name in ["violations", *Verdict().figures()] if name not in _COUNTED) else 0)


def _sum(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """All runs in one."""
    faults: Counter[str] = Counter()
    for each in runs:
        faults.update(each["faults"])
    names = [name for name in runs[0] if name not in {"seed", "faults"}]
    return {"runs": len(runs), **{n: sum(r[n] for r in runs) for n in names}, "faults": dict(faults), "each": runs}


def _write(runs: list[dict[str, Any]]) -> None:
    target = Path("build") / "chaos.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(_sum(runs), indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
