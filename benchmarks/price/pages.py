"""What README.md and docs/sizing.md say of a run: written from its JSON, between two marks, never by hand."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from .figures import GOALS, not_measured
from .plan import FOOTAGE, FOOTAGE_NAMES, LARGEST, LATENCY_NAMES, SUBSTREAM
from .rows import BROKER, BROKERS, CORE, GATES, LATENCY, MEMORY, PEERS, PROFILE

REPOSITORY: Final = Path(__file__).resolve().parents[2]
_BEGIN: Final = "<!-- bench: make bench, then python benchmarks/bench.py --write -->"
_END: Final = "<!-- end of bench -->"
_BLOCK: Final = re.compile(f"(?<={re.escape(_BEGIN)}\n).*?(?={re.escape(_END)})", re.DOTALL)
_PEER_NAMES: Final = {
    "torchcodec_openvino": "torchcodec, OpenVINO",
    "decord_openvino": "decord, OpenVINO",
    "opencv_torch": "OpenCV, torch",
}
_BROKER_NAMES: Final = {
    "embedded": "embedded broker",
    "at-least-once": "Apache Kafka, at least once",
    "exactly-once": "Apache Kafka, exactly once",
}
_PARTS: Final = ("reading", "decoding", "scaling", "encoder", "head", "rest")
_NONE: Final = "–"

_README: Final = """\
`make bench` on {machine}, everything in one run: cameras that a core carries, that is seconds of footage
which a second of one core's time classifies, from an MP4 file to predictions, in {precision}. Peers are what people
would write instead, with the same network and the same windows: decode, build each window, run the whole clip. In all
views but the still one something always moves."""
_CORES: Final = """\
Measured by `make bench` on {machine}: medians of the rounds, in which all paths of a model take turns.
Cameras a core: seconds of footage that a second of one core's time classifies. In all views but the still one something
always moves. `ungated` computes every window, `gated` is what Clipline does by itself."""
_PEERS: Final = """\
## Beside what people would write

The same windows through the same network with the same weights: decode, build each window, run the whole clip. The
ratio is that of Clipline, gated, to the best of them."""
_WHERE: Final = """\
## Where the time goes

Core-milliseconds of a second of footage, each part by a clock around it (benchmarks/price/paths/parts.py). Reading
includes cutting segments, scaling includes cutting out views; a model without an encoder of pictures is all head; the
rest is windows, gates, trackers and records. Close up: windows that the whole picture did not settle
([ADR 37](adr/0037-the-whole-picture-may-settle-it.md)); where people fight it settles hardly any, and the encoder
costs up to twice as much."""
_LATENCIES: Final = """\
From a segment to a subscriber who hears its prediction, ms, with so many cameras live that a worker on all cores is
busy for half the time (goal: 95 % within {goal:g} ms). A segment of two seconds is decoded and classified as a
whole."""

Entry = Mapping[str, Any]


class PagesError(Exception):
    """A run that pages cannot be written from; the message says why."""


def write(source: Path) -> list[Path]:
    """Write the figures of a run into the pages, and return these.

    Raises:
        PagesError: the file is not one, or the run was a quick one, or one of parts only.
    """
    run = read(source)
    texts = {REPOSITORY / "README.md": readme(run), REPOSITORY / "docs" / "sizing.md": sizing(run)}
    for page, text in texts.items():
        page.write_text(_BLOCK.sub(lambda _, text=text: text, page.read_text("utf-8")), "utf-8")  # type: ignore[misc]
    return list(texts)


def read(source: Path) -> Run:
    """The figures of a run.

    Raises:
        PagesError: see `write`.
    """
    try:
        entries = json.loads(source.read_text("utf-8"))
        run = Run(entries)
    except OSError as error:
        raise PagesError(f"{source}: cannot be read ({error}); `make bench` writes it") from None
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise PagesError(f"{source}: not what `make bench` writes ({error})") from None
    if run.is_quick:
        raise PagesError(f"{source}: of a --quick run, which tells whether it works and not how fast")
    if lacking := sorted({CORE, PROFILE, LATENCY, MEMORY, BROKER} - run.kinds):
        raise PagesError(f"{source}: of a run without {', '.join(lacking)}; expected one without --only")
    return run


class Run:
    """The figures of one run, by name."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._by_name = {entry["name"]: entry for entry in entries}
        self.kinds = {name.partition(".")[0] for name in self._by_name}
        self.is_quick = any(entry["quick"] for entry in entries)
        self.machine: str = entries[0]["machine"]

    def __getitem__(self, name: str) -> Entry:
        return self._by_name.get(name, {})

    def value(self, name: str) -> float | None:
        found: float | None = self[name].get("value")
        return found

    def entries(self, kind: str) -> list[Entry]:
        return [entry for name, entry in self._by_name.items() if name.partition(".")[0] == kind]

    @property
    def models(self) -> list[str]:
        """In the order in which they were measured: the default first."""
        return list(dict.fromkeys(entry["model"] for entry in self.entries(CORE)))

    @property
    def precisions(self) -> list[str]:
        """The one that Clipline chooses is the last."""
        return list(dict.fromkeys(entry["precision"] for entry in self.entries(CORE) if "precision" in entry))

    def direct(self, model: str, footage: str, gates: str, precision: str | None = None) -> float | None:
        return self.value(f"{CORE}.direct.{model}.{footage}.{precision or self.precisions[-1]}.{gates}")

    def peers(self, model: str, footage: str) -> dict[str, float | None]:
        return {peer: self.value(f"{CORE}.peer.{peer}.{model}.{footage}") for peer in PEERS}


def readme(run: Run) -> str:
    rows = []
    for model in run.models:
        peers = {peer: value for peer, value in run.peers(model, LARGEST).items() if value is not None}
        best = max(peers, key=peers.__getitem__, default=None)
        ours = run.direct(model, LARGEST, "gated")
        ratio = _NONE if best is None or ours is None else f"{ours / peers[best]:.2f}"
        peer = _NONE if best is None else f"{_figure(peers[best])} ({_PEER_NAMES[best]})"
        cells = [_figure(run.direct(model, footage, "gated")) for footage in FOOTAGE]
        still = _figure(run.direct(model, LARGEST, "still"))
        rows.append([_model(run, model), *cells, still, peer, ratio])
    head = ["model", *FOOTAGE_NAMES.values(), "1080p, a still view", "best peer, 1080p", "ratio at 1080p"]
    text = _README.format(machine=run.machine, precision=run.precisions[-1])
    more = "All of it, by precision and with where the time goes: [docs/sizing.md](docs/sizing.md)."
    rest = _sentences(_behind_a_broker(run), _memory(run), _latency_goal(run), more)
    return f"{text}\n\n{_table(head, rows)}\n\n{rest}\n"


def sizing(run: Run) -> str:
    parts = [
        _CORES.format(machine=run.machine),
        _cores(run),
        _PEERS,
        _beside_peers(run),
        _WHERE,
        _where(run),
        "## Behind a broker",
        _sentences(_behind_a_broker(run), _memory(run), _brokers(run)),
        _latencies(run),
        _lacking(run),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _cores(run: Run) -> str:
    rows = []
    for footage, shown in FOOTAGE_NAMES.items():
        for model in run.models:
            for precision in run.precisions:
                values = [run.direct(model, footage, gates, precision) for gates in GATES]
                stride = run[f"{CORE}.direct.{model}.{footage}.{precision}.ungated"].get("stride_seconds")
                cost = _NONE if values[0] is None else f"{1000 / values[0]:.0f}"
                stride_cell = _NONE if stride is None else f"{stride:g}"
                rows.append([shown, _model(run, model), precision, stride_cell, *map(_figure, values), cost])
    head = ["footage", "model", "in", "stride, s", "ungated", "gated", "a still view", "core-ms a second, ungated"]
    return _table(head, rows)


def _beside_peers(run: Run) -> str:
    rows = []
    for footage in (LARGEST, SUBSTREAM):
        for model in run.models:
            peers, ours = run.peers(model, footage), run.direct(model, footage, "gated")
            best = max((value for value in peers.values() if value is not None), default=None)
            ratio = _NONE if best is None or ours is None else f"{ours / best:.2f}"
            values = [_figure(ours), _figure(run.direct(model, footage, "ungated")), *map(_figure, peers.values())]
            rows.append([FOOTAGE_NAMES[footage], _model(run, model), *values, ratio])
    peers_shown = [_PEER_NAMES[peer] for peer in PEERS]
    return _table(["footage", "model", "Clipline, gated", "ungated", *peers_shown, "ratio"], rows)


def _where(run: Run) -> str:
    rows = []
    for entry in run.entries(PROFILE):
        parts = entry.get("parts")
        if parts is None:
            continue
        close = entry["windows_looked_at_close_up"]
        shares = {part: f"{spent:.0f} ({100 * spent / entry['value']:.0f} %)" for part, spent in parts.items() if spent}
        cells = [FOOTAGE_NAMES[entry["footage"]], _model(run, entry["model"])]
        cells += [shares.get(part, _NONE) for part in _PARTS]
        rows.append([*cells, f"{entry['value']:.0f}", f"{100 * close:.0f} %" if close else _NONE])
    return _table(["footage", "model", *_PARTS, "sum", "close up"], rows)


def _behind_a_broker(run: Run) -> str:
    model = run.models[0]
    names = {broker: f"{CORE}.kafka.{broker}.{model}.{LARGEST}" for broker in BROKERS}
    found = {broker: run.value(name) for broker, name in names.items()}
    shown = ", ".join(
        f"{_figure(value)} ({_BROKER_NAMES[broker]})" for broker, value in found.items() if value is not None
    )
    if not shown:
        return ""
    text = f"The worker between broker and Redis carries with the default at 1080p {shown}."
    plain, exact = found["at-least-once"], found["exactly-once"]
    if plain is not None and exact is not None:
        text += f" Transactions cost {100 * (plain / exact - 1):+.1f} % of its processor time."
    return text


def _memory(run: Run) -> str:
    value = next((entry["value"] for entry in run.entries(MEMORY)), None)
    if value is None:
        return ""
    return f"One more 1080p camera takes {value:.1f} MB of a worker's memory on a backlog (goal: {GOALS[MEMORY]:g})."


def _latency_goal(run: Run) -> str:
    model = run.models[0]
    shown = []
    for footage in (LARGEST, SUBSTREAM):
        value = run.value(f"{LATENCY}.embedded.{model}.{footage}")
        if value is not None:
            shown.append(f"{value:.0f} ms ({FOOTAGE_NAMES[footage]})")
    if not shown:
        return ""
    return (
        f"At half load 95 % of the default's predictions arrive within {' and '.join(shown)} of the segment that "
        f"completes their window (goal: {GOALS[LATENCY]:g} ms)."
    )


def _brokers(run: Run) -> str:
    shown = [
        f"{'the embedded broker' if entry['variant'] == 'embedded' else 'Apache Kafka'} takes "
        f"{entry['in_mb_per_s']:.0f} and gives {entry['out_mb_per_s']:.0f} MB/s"
        for entry in run.entries(BROKER)
        if entry["value"] is not None
    ]
    return f"Of records of 250 KB {', '.join(shown)}." if shown else ""


def _latencies(run: Run) -> str:
    rows = [
        [
            _BROKER_NAMES[entry["variant"]],
            _model(run, entry["model"]),
            LATENCY_NAMES[entry["footage"]],
            str(entry["cameras"]),
            f"{entry['worker_cores']:.2f} of {entry['cores']}",
            *(f"{entry[key]:.0f}" for key in ("median_ms", "value", "max_ms")),
        ]
        for entry in run.entries(LATENCY)
        if entry["value"] is not None
    ]
    text = _LATENCIES.format(goal=GOALS[LATENCY])
    head = ["broker", "model", "footage", "cameras", "worker's cores", "median", "95 %", "most"]
    return f"{text}\n\n{_table(head, rows)}" if rows else ""


def _lacking(run: Run) -> str:
    entries = [entry for kind in sorted(run.kinds) for entry in run.entries(kind)]
    reasons = not_measured(entries)
    if not reasons:
        return ""
    return "Not measured:\n\n" + "\n".join(f"- {_several(names)}: {reason}" for reason, names in reasons.items())


def _sentences(*found: str) -> str:
    return " ".join(sentence for sentence in found if sentence)


def _several(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _model(run: Run, model: str) -> str:
    return f"`{model}` (default)" if model == run.models[0] else f"`{model}`"


def _figure(value: float | None) -> str:
    return _NONE if value is None else f"{value:.1f}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines: list[str] = [_line(head), _line(["---"] * len(head)), *map(_line, rows)]
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
