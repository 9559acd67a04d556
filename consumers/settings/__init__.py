"""What an operator can set: one TOML file, overridden by environment variables.

    # clipline.toml
    kafka = "broker.example:9092"            # or CLIPLINE_KAFKA
    redis = "redis://cache.example:6379/0"   # or CLIPLINE_REDIS

    [cameras.dock-1]
    url = "rtsp://${DOCK_USER}:${DOCK_PASSWORD}@10.0.0.7/stream"

    [worker]
    model = "cnn-lstm"                       # or CLIPLINE_WORKER__MODEL
    stride_seconds = 0.8

    [tracker.labels.fight]
    start = 0.7

The file is `clipline.toml` in the working directory, or the one that `--settings` or CLIPLINE_SETTINGS names.
Unknown keys are errors: a misspelt threshold must not be silently ignored. Every field has a description, from which
docs/configuration.md and the file that `clipline init` writes are made.
"""

from .addresses import is_loopback, resolve
from .kept import kept_file
from .loading import DEFAULT_FILE, ENVIRONMENT_PREFIX, load_settings, no_file_words, override, settings_file
from .schedule import Schedule
from .section import SettingsError
from .sections.dashboard import DashboardSettings, OidcSettings, Role, TokenSettings, UserSettings
from .sections.feeding import CameraSettings, SegmentSettings
from .sections.gates import GateSettings
from .sections.load import LoadRule, LoadSettings
from .sections.notifying import ChannelSettings, NotifySettings
from .sections.observing import LogSettings, MetricsSettings
from .sections.pictures import EvidenceSettings, PictureSettings
from .sections.run import RunSettings
from .sections.serving import ServeSettings
from .sections.topics import RedisSettings, TopicSettings
from .sections.tracking import LabelSettings, RuleSettings, TrackerSettings
from .sections.verdicts import VerdictSettings
from .sections.worker import WorkerSettings
from .security import KafkaSecuritySettings, RedisSecuritySettings
from .settings import Settings, section_of

__all__ = [
    "DEFAULT_FILE",
    "ENVIRONMENT_PREFIX",
    "CameraSettings",
    "ChannelSettings",
    "DashboardSettings",
    "EvidenceSettings",
    "GateSettings",
    "KafkaSecuritySettings",
    "LabelSettings",
    "LoadRule",
    "LoadSettings",
    "LogSettings",
    "MetricsSettings",
    "NotifySettings",
    "OidcSettings",
    "PictureSettings",
    "RedisSecuritySettings",
    "RedisSettings",
    "Role",
    "RuleSettings",
    "RunSettings",
    "Schedule",
    "SegmentSettings",
    "ServeSettings",
    "Settings",
    "SettingsError",
    "TokenSettings",
    "TopicSettings",
    "TrackerSettings",
    "UserSettings",
    "VerdictSettings",
    "WorkerSettings",
    "is_loopback",
    "kept_file",
    "load_settings",
    "no_file_words",
    "override",
    "resolve",
    "section_of",
    "settings_file",
]
