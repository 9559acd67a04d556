"""What `clipline check` looks at before anything runs: the settings, this machine, the services, the model.

docs/checks.md lists what each line says and what to do.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import redis

from consumers.cores import usable_cores
from consumers.files import is_held
from consumers.live.assemble import WITHOUT_GPU, clip_spec
from consumers.outputs.redis.connection import SinkError, connect_redis, redis_hosts
from consumers.records.prediction import rfc3339
from consumers.rules.applying import other_rules
from consumers.rules.rule_set import RuleSet, check_cameras
from consumers.running.sending.claims import readers
from consumers.settings import Settings, SettingsError, load_settings, no_file_words, settings_file
from models import Checkpoint, ModelError, choose_engine, find
from stream import MAX_RECORD_BYTES, BrokerError, ClipSpec, GpuError, KafkaTransport, display_name, open_gpu
from stream.services import ApacheBroker, EmbeddedBroker, EmbeddedRedis, Service, holder, is_taken

from .finding import Finding
from .services import KAFKA_PORT, REDIS_PORT, is_own_broker, is_own_redis, listens

#: What a worker with a shipped model takes, about.
_WORKER_MEGABYTES: Final = 700
_LOW_DISK_MEGABYTES: Final = 1000
#: A step costs as much as about so many pictures of a whole clip (docs/sizing.md).
_STEP_COST: Final = 4
#: Processor features with which OpenVINO computes in bf16.
_BF16: Final = {"avx512_bf16": "bf16", "amx_bf16": "AMX bf16"}
#: Policies under which Redis drops what it was told to keep.
_EVICTING: Final = ("allkeys-", "volatile-")


def read_settings(path: Path | None) -> tuple[Settings | None, list[Finding]]:
    """The settings and what is to be said of them; None where they cannot be used.

    Raises:
        SettingsError: the file that `path` names is not there.
    """
    file = settings_file(path)
    try:
        settings = load_settings(path)
    except SettingsError as error:
        return None, [Finding("error", "settings", problem) for problem in error.problems]
    origin = str(file) if file is not None else f"{no_file_words()}, so the defaults"
    cameras = len(settings.cameras)
    findings = [Finding("ok", "settings", f"{origin}; {cameras} camera{'s' if cameras != 1 else ''}")]
    if not cameras:
        findings.append(
            Finding("warning", "settings", "no cameras: add [cameras.NAME] with a url, or use `clipline attach`")
        )
    return settings, findings


def check_machine(settings: Settings) -> Iterator[Finding]:
    """Processor, memory and disk."""
    yield _processor()
    yield _memory(settings)
    yield from _disk(settings)


def _processor() -> Finding:
    cores = usable_cores()
    count = f"{cores} core{'s' if cores != 1 else ''}"
    flags = _flags()
    if flags is None:
        return Finding("ok", "processor", f"{count}; its features cannot be read here")
    known = {"avx2": "AVX2", "asimd": "ARM NEON", "avx512f": "AVX-512", **_BF16}
    has = [name for flag, name in known.items() if flag in flags]
    if not has:
        return Finding("warning", "processor", f"{count} without AVX2: models are slow here, so expect few cameras")
    return Finding("ok", "processor", f"{count} with {', '.join(has)}")


def _precision(engine: str) -> str:
    """What numbers OpenVINO computes with on this processor, where that is known."""
    flags = _flags()
    if engine != "openvino" or flags is None:
        return ""
    return " in bf16" if flags & _BF16.keys() else " in f32 (this processor has no bf16)"


def _flags(path: Path = Path("/proc/cpuinfo")) -> set[str] | None:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    return next((set(line.split(":")[1].split()) for line in lines if line.startswith(("flags", "Features"))), None)


def _memory(settings: Settings) -> Finding:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return Finding("ok", "memory", "how much is free cannot be read here")
    free = next(int(line.split()[1]) / 1024 for line in lines if line.startswith("MemAvailable"))
    broker = settings.run.broker_max_megabytes if settings.run.services in {"auto", "embedded"} else 0
    needed = settings.run.workers * _WORKER_MEGABYTES + broker
    text = f"{free:.0f} MB free, about {needed:.0f} MB needed"
    if free >= needed:
        return Finding("ok", "memory", text)
    return Finding("warning", "memory", f"{text}: lower run.workers or run.broker_max_megabytes")


def _disk(settings: Settings) -> Iterator[Finding]:
    folders = {"logs": settings.run.log_folder, "topics": settings.run.data}
    for use, folder in folders.items():
        if folder is None:
            continue
        there = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
        free = shutil.disk_usage(there).free / 1e6
        subject = f"disk ({use})"
        if use == "logs" and is_held(folder):
            text = f"{folder}: a `clipline run` that writes there runs already: `clipline status` says how it is doing"
            yield Finding("warning", subject, f"{text}; one beside it needs a run.log_folder of its own")
        elif not there.is_dir() or not os.access(there, os.W_OK):
            yield Finding("error", subject, f"{folder}: cannot be written: choose another folder")
        elif free < _LOW_DISK_MEGABYTES:
            yield Finding("warning", subject, f"{folder}: {free:.0f} MB free: make room")
        else:
            yield Finding("ok", subject, f"{folder}: {free / 1000:.0f} GB free")


def check_model(settings: Settings) -> Iterator[Finding]:
    """The model, its thresholds, and what runs it."""
    try:
        checkpoint = find(settings.worker.model)
    except ModelError as error:
        yield Finding("error", "model", str(error))
        return
    contract = checkpoint.contract
    yield Finding(
        "ok", "model", f"{checkpoint.id}: {contract.frames} frames of {contract.width}x{contract.height} a window"
    )
    yield _engine(settings, checkpoint)
    yield from _decoder(settings)
    try:
        spec = clip_spec(contract, settings.worker.stride_seconds)
        found = RuleSet(contract, settings.tracker, settings.rules)
        check_cameras(found, settings.cameras)
        rules = {label: rule for name in (*found.patterns, "") for label, rule in found.of(name).items()}
    except SettingsError as error:
        yield Finding("error", "events", str(error))
        return
    if contract.context and spec.samples_per_stride * _STEP_COST > spec.frames:
        whole = contract.architecture.removeprefix("co_")
        yield Finding(
            "warning",
            "stride",
            f"a window every {spec.stride_us / 1e6:g} s: {whole} costs less than {contract.architecture}, unless "
            f"worker.stride_seconds is {_paying_seconds(spec):g} or less",
        )
    if rules:
        yield Finding("ok", "events", "raised for " + ", ".join(f"{k} (from {r.start:g})" for k, r in rules.items()))
    else:
        yield Finding(
            "warning", "events", "no label has a threshold, so no event is raised: set [tracker.labels.NAME] start"
        )


def _paying_seconds(spec: ClipSpec) -> float:
    """The longest stride at which steps cost no more than whole clips."""
    return max(1, spec.frames // _STEP_COST) * spec.spacing_us / 1e6


def _engine(settings: Settings, checkpoint: Checkpoint) -> Finding:
    try:
        engine = choose_engine(settings.worker.engine, checkpoint)
    except ModelError as error:
        return Finding("error", "engine", str(error))
    return Finding("ok", "engine", f"{engine}{_precision(engine)}")


def _decoder(settings: Settings) -> Iterator[Finding]:
    """Nothing, unless a GPU is asked for."""
    if settings.worker.decoder != "cuda":
        return
    try:
        open_gpu()
    except GpuError as error:
        yield Finding("error", "decoder", f"{error}; {WITHOUT_GPU}")
    else:
        yield Finding("ok", "decoder", "NVDEC decodes as the processor does")


def check_services(settings: Settings) -> Iterator[Finding]:
    """The broker and Redis: those that answer, or what `clipline run` would start."""
    kind = settings.run.services
    if is_own_broker(settings, kind):
        yield from _broker(settings)
    else:
        broker = ApacheBroker() if kind == "apache" else EmbeddedBroker()
        yield from _startable("broker", broker, KAFKA_PORT)
    if is_own_redis(settings, kind):
        yield _redis(settings)
    else:
        yield from _startable("Redis", EmbeddedRedis(), REDIS_PORT)


def _startable(subject: str, service: Service, port: int) -> Iterator[Finding]:
    missing = service.missing()
    if missing is None:
        yield Finding("ok", subject, f"none answers; `clipline run` starts the {service.name}")
    else:
        yield Finding("error", subject, missing)
    if is_taken(port):
        found = holder(port)
        yield Finding(
            "warning",
            f"port {port}",
            f"taken{f' by {found}' if found else ''}: {subject} will get another port, which `clipline run` says",
        )
    else:
        yield Finding("ok", f"port {port}", "free")


def _broker(settings: Settings) -> Iterator[Finding]:
    topics = settings.topics
    names = (topics.segments, topics.predictions, topics.events, topics.deadletter)
    if not listens(settings.kafka):
        yield Finding("error", "broker", f"nobody listens at {settings.kafka}: start it, or set kafka or run.services")
        return
    try:
        transport = KafkaTransport(settings.broker)
        yield Finding("ok", "broker", f"{settings.kafka} answers, Kafka {transport.version()} or newer")
        described = transport.described(names)
        others = readers(transport, topics, settings.cameras)
        rules = other_rules(transport, settings)
    except BrokerError as error:
        yield Finding("error", "broker", str(error))
        return
    if missing := [name for name in names if name not in described]:
        yield Finding("ok", "topics", f"made at the first start: {', '.join(missing)}")
    if rules is not None:
        yield Finding("warning", "rules", rules)
    for camera, (agent, since_us) in others.items():
        yield Finding(
            "warning",
            f"camera {camera}",
            f"{agent.id} (process {agent.pid} on {agent.host}) reads it already, since {rfc3339(since_us)}: a second "
            "agent is refused; end that one, give this camera another name, or take it over with --take-over",
        )
    segments = described.get(topics.segments)
    if segments is None:
        return
    limit = segments.max_record_bytes
    if limit is not None and limit < MAX_RECORD_BYTES:
        yield Finding(
            "error",
            f"topic {topics.segments}",
            f"takes records of {limit} bytes only: set its max.message.bytes to {MAX_RECORD_BYTES} or more",
        )
    elif segments.partitions < settings.run.workers:
        yield Finding(
            "warning",
            f"topic {topics.segments}",
            f"{segments.partitions} partitions for {settings.run.workers} workers: some stay idle; add partitions",
        )
    else:
        yield Finding("ok", f"topic {topics.segments}", f"{segments.partitions} partitions")


def _redis(settings: Settings) -> Finding:
    shown = display_name(settings.redis)
    if not listens(redis_hosts(settings.redis), REDIS_PORT):
        return Finding("error", "Redis", f"nobody listens at {shown}: start it, or set redis or run.services")
    try:
        client = connect_redis(settings.redis)
    except SinkError as error:
        return Finding("error", "Redis", str(error))
    with client:
        try:
            server, memory = client.info("server"), client.info("memory")
        except redis.RedisError as error:
            return Finding("warning", "Redis", f"{shown} answers, and does not tell its version ({error})")
    policy = str(memory.get("maxmemory_policy", "unknown"))
    version = server.get("valkey_version") or server.get("redis_version", "unknown")
    if memory.get("maxmemory") and policy.startswith(_EVICTING):
        return Finding(
            "warning", "Redis", f"{shown}, {version}: drops keys when full ({policy}): set maxmemory-policy noeviction"
        )
    return Finding("ok", "Redis", f"{shown} answers, {version}, memory policy {policy}")
