"""One run: the measurements in turn, each of which may fail without the others."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from contextlib import ExitStack

from stream.services import ApacheBroker, EmbeddedBroker, EmbeddedRedis

from .cores import Cores
from .desk import Desk
from .figures import Figure, relate
from .latency import Latency
from .measuring import Addresses, Ask, Job, Measuring, MissingError, Round, WrongWorkError
from .paths.clipline import contract_of, fill_topic
from .paths.windows import expected_windows
from .plan import LARGEST
from .rows import BROKER, CORE, GPU, LATENCY, MEMORY, PROFILE, Row


class Services:
    """Brokers and a Redis, started when they are first asked for."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._brokers: dict[str, str] = {}
        self._redis: str | None = None

    def broker(self, kind: str) -> str:
        """The address of an "embedded" broker or of an "apache" one.

        Raises:
            MissingError: what it needs is not there.
        """
        if kind not in self._brokers:
            if kind == "apache" and (reason := ApacheBroker.missing()) is not None:
                raise MissingError(reason)
            service = self._stack.enter_context(ApacheBroker() if kind == "apache" else EmbeddedBroker())
            self._brokers[kind] = service.address
        return self._brokers[kind]

    def __call__(self, kind: str) -> Addresses:
        """The addresses of a broker and of Redis."""
        broker = self.broker(kind)
        if self._redis is None:
            self._redis = self._stack.enter_context(EmbeddedRedis()).address
        return {"kafka": broker, "redis": self._redis}


def measure(desk: Desk, figures: dict[Row, Figure], best_precision: str) -> None:
    """Measure what these figures are of; those that could not be measured say why."""
    kinds = {row.kind for row in figures}
    with ExitStack() as stack:
        services = Services(stack)
        if kinds & {CORE, GPU, PROFILE}:
            Cores(desk, figures, services).run()
        if LATENCY in kinds:
            Latency(desk, figures, services).run()
        for row, figure in figures.items():
            if row.kind == MEMORY:
                with figure.noting():
                    _measure_memory(desk, figure, services)
        _measure_brokers(desk, [figure for row, figure in figures.items() if row.kind == BROKER], services)
    relate(figures, best_precision)


def _measure_memory(desk: Desk, figure: Figure, services: Services) -> None:
    plan, model = desk.plan, figure.row.model
    job = Job("memory", model, one_core=False, **services("embedded"))
    film = str(desk.film(plan.footage(LARGEST)))
    asks = {cameras: Ask(film, cameras, gated=True, prefix=f"memory-{cameras}") for cameras in plan.memory_cameras}
    few, many = plan.memory_cameras
    for ask in asks.values():
        fill_topic(job, ask)
    growth, peaks = [], []
    with desk.task("memory per camera", 2 * plan.rounds) as step:
        for _ in range(plan.rounds):
            peak = {}
            for cameras, ask in asks.items():
                process = desk.start(job)  # memory that was given back once is not asked for again
                found = process.round(ask)
                process.close()
                windows = cameras * expected_windows(plan.seconds, contract_of(model))
                if found.windows != windows:
                    raise WrongWorkError(f"{found.windows} windows of {cameras} cameras, expected {windows}")
                peak[cameras] = found.peak_megabytes
                step(1)
            peaks.append(peak)
            growth.append((peak[many] - peak[few]) / (many - few))
    figure.take(growth)
    for cameras in (few, many):
        figure.details[f"peak_mb_with_{cameras}_cameras"] = round(statistics.median(p[cameras] for p in peaks), 1)
    figure.details["footage"] = LARGEST


def _measure_brokers(desk: Desk, figures: Sequence[Figure], services: Services) -> None:
    processes: dict[str, tuple[Figure, Measuring]] = {}
    rounds: dict[str, list[Round]] = {}
    if not figures:
        return
    plan = desk.plan
    with ExitStack() as stack, desk.task("brokers", len(figures) * plan.rounds) as step:
        for figure in figures:
            with figure.noting():
                process = desk.start(Job("broker", kafka=services.broker(figure.row.variant), one_core=False))
                stack.callback(process.close)
                processes[figure.name] = figure, process
                rounds[figure.name] = []
        for number in range(plan.rounds):
            for name, (figure, process) in processes.items():
                if not figure.is_wrong:
                    with figure.noting():
                        ask = Ask(prefix=f"throughput-{number}", records=plan.records)
                        rounds[name].append(process.round(ask))
                step(1)
    for name, (figure, _) in processes.items():
        if figure.is_wrong:
            continue
        measured = rounds[name]
        into = statistics.median(r.in_mb_per_s for r in measured)
        out = statistics.median(r.out_mb_per_s for r in measured)
        figure.take([r.in_mb_per_s if into <= out else r.out_mb_per_s for r in measured])
        figure.details |= {"in_mb_per_s": round(into, 1), "out_mb_per_s": round(out, 1)}
