"""The sections of notifications: who is told of which events, through what, and how often."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, SecretStr, ValidationInfo, model_validator

from consumers.settings.schedule import Schedule, check_clock, check_stretch, check_zone, next_at_us
from consumers.settings.section import (
    MAX_COUNT,
    MAX_DAYS,
    MAX_HOURS,
    PART,
    Address,
    Section,
    SettingsError,
    check_group,
    only_line,
)
from stream import Secret

ChannelKind = Literal["webhook", "mqtt", "apprise"]


class ChannelSettings(Section):
    """One way to tell people or programs of events, [channels.NAME]."""

    kind: ChannelKind = Field(
        "webhook",
        description="webhook: a signed HTTP POST, as Standard Webhooks has it. mqtt: an MQTT broker, where Home "
        "Assistant finds the cameras by itself. apprise: mail, chat, push and a hundred other services, by Apprise's "
        "addresses.",
    )
    url: Address | None = Field(
        None,
        examples=["https://example.org/hooks/clipline"],
        min_length=1,
        description="Where to send: https://…, mqtt://host:1883/topic (mqtts:// for TLS), or an address of Apprise's. "
        "${NAME} stands for an environment variable, so that no password stands in this file.",
    )
    url_file: Path | None = Field(
        None, examples=["/run/secrets/ops-url"], description="A file that holds the address on its only line."
    )
    secret: SecretStr | None = Field(
        None,
        examples=["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
        description="webhook: signs what is sent; whsec_ and base64. Left out: nothing is signed.",
    )
    secret_file: Path | None = Field(None, examples=["/run/secrets/ops"], description="A file that holds it.")
    old_secret: SecretStr | None = Field(
        None,
        examples=["whsec_b2xkIG9sZCBvbGQgb2xkIG9sZCBvbGQh"],
        description="webhook: signs as well, while receivers change from this secret to the other one.",
    )
    old_secret_file: Path | None = Field(None, examples=["/run/secrets/ops-old"], description="A file that holds it.")
    labels: list[str] = Field([], examples=[["fight"]], description="Labels that are told of. Empty: all.")
    cameras: list[str] = Field(
        [],
        examples=[["gate*"]],
        description="Cameras that are told of; * stands for anything. Empty: all.",
    )
    states: list[Literal["started", "updated", "ended"]] = Field(
        ["started"],
        min_length=1,
        description="Reports of an event that are told: that it has started, goes on, has ended.",
    )
    severities: list[Literal["alert", "detection"]] = Field(
        ["alert"],
        min_length=1,
        description="Events that are told, by what rules say of them. One that escalates becomes an alert, and is told "
        "whatever `states` says.",
    )
    conditions: list[Literal["camera", "agent", "worker", "disk"]] = Field(
        [],
        examples=[["camera", "agent", "worker", "disk"]],
        description="What is told of when it is in trouble, and when that is over: cameras that give no picture, "
        "agents and workers that died without a word, disks of agents on which nothing could wait for the broker. Of "
        "cameras, those of `cameras`. Empty: nothing.",
    )
    drill: bool = Field(
        False,  # noqa: FBT003  a default
        description="Tell of drills, too (`clipline drill`); messages say that they are one. false: the ledger notes "
        "what would have been told.",
    )
    pictures: Literal["none", "reference", "inline"] = Field(
        "none",
        description="Pictures in messages about events. reference: where they lie in Redis. inline: the pictures "
        "themselves, too: base64 in a webhook, an image entity over MQTT, an attachment by Apprise (which knows no "
        "reference).",
    )
    pictures_wait_seconds: float = Field(
        10.0,
        ge=0,
        le=120,
        description="Seconds that a message waits for its pictures, which are made after the report, at most. Then it "
        "goes without, and says so.",
    )
    timeout_seconds: float = Field(10.0, gt=0, le=120, description="Seconds in which an answer has to come.")
    use_by_minutes: float = Field(
        60.0,
        gt=0,
        le=MAX_HOURS * 60,
        description="Minutes after its report in which a message is of use. What could not be delivered by then is "
        "said to have failed.",
    )
    per_hour: int = Field(
        60,
        ge=1,
        le=MAX_COUNT,
        description="Messages an hour, at most. What is more is held back, and one message sums it up.",
    )
    quiet: Annotated[str, AfterValidator(check_stretch)] | None = Field(
        None,
        examples=["22:00-07:00"],
        description="Hours in which nothing is sent, also only of some days: sat,sun 22:00-09:00. One message sums "
        "them up afterwards.",
    )
    digest: Annotated[str, AfterValidator(check_clock)] | None = Field(
        None,
        examples=["08:00"],
        description="Collect events, and tell of them in one message a day at this time. Left out: each at once.",
    )
    unanswered_minutes: float | None = Field(
        None,
        gt=0,
        le=24 * 60,
        examples=[5],
        description="Tell only of events that nobody has acknowledged or answered so many minutes after their report: "
        "a channel to the next person. Left out: of all, at once.",
    )
    time_zone: Annotated[str, AfterValidator(check_zone)] = Field(
        "UTC",
        examples=["Europe/Berlin"],
        description="Time zone of `quiet` and `digest`, and of times in messages for people.",
    )
    title: str = Field(
        "{label} at {camera}",
        max_length=200,
        description="apprise: title of a message. {label}, {camera}, {state}, {start}, {end}, {seconds}, {score}, "
        "{event} and {model} are filled in.",
    )
    body: str = Field(
        "{state} {start}, {seconds} s so far, score {score}",
        max_length=2000,
        description="apprise: text of a message, likewise.",
    )

    @model_validator(mode="after")
    def _belongs_together(self, info: ValidationInfo) -> ChannelSettings:
        for name in ("url", "secret", "old_secret"):
            if getattr(self, name) is not None and getattr(self, f"{name}_file") is not None:
                raise ValueError(f"expected one of {name} and {name}_file")
        if info.context == PART:
            return self
        if self.url is None and self.url_file is None:
            raise ValueError("expected url or url_file")
        if self.kind != "webhook" and any(
            getattr(self, name) is not None for name in ("secret", "secret_file", "old_secret", "old_secret_file")
        ):
            raise ValueError("secrets are for webhooks")
        if self.kind == "apprise" and self.pictures == "reference":
            raise ValueError("pictures: expected none or inline, as nobody can look at a reference in a mail or a chat")
        for name in ("title", "body"):
            _check_template(name, getattr(self, name))
        return self

    def address(self, name: str, environment: dict[str, str]) -> str:
        """Where to send, with every reference resolved. Holds secrets.

        Args:
            name: of the channel, for errors.
            environment: where variables are looked up.

        Raises:
            SettingsError: a variable is not set, or the file cannot be read.
        """
        from consumers.settings.addresses import resolve  # noqa: PLC0415

        if self.url_file is not None:
            return only_line(self.url_file, f"channels.{name}.url_file", "address")
        assert self.url is not None
        try:
            return resolve(self.url, environment)
        except ValueError as error:
            raise SettingsError(f"channels.{name}.url: {error}") from None

    def quiet_until_us(self, time_us: int) -> int | None:
        """When the quiet hours end in which a moment lies, microseconds since the Unix epoch; None outside of them."""
        return None if self.quiet is None else Schedule((self.quiet,), self.time_zone).until_us(time_us)

    @property
    def longest_held_hours(self) -> float:
        """For how long a message may be held back before it is told, or waits to be tried again."""
        # Quiet hours and digests end within a day, which may have 25 hours.
        day = 25.0 if self.digest is not None or self.quiet is not None else 0.0
        return day + (self.unanswered_minutes or 0.0) / 60 + self.use_by_minutes / 60

    def digest_us(self, time_us: int) -> int | None:
        """When the next digest after a moment is due, microseconds since the Unix epoch; None where there are none."""
        return None if self.digest is None else next_at_us(self.digest, self.time_zone, time_us)

    def signing(self, name: str) -> tuple[Secret, ...]:
        """The secrets that sign, the newer one first; none where nothing is signed.

        Raises:
            SettingsError: one cannot be read.
        """
        from consumers.settings.security import secret  # noqa: PLC0415

        found = (
            secret(f"channels.{name}.secret", self.secret, self.secret_file),
            secret(f"channels.{name}.old_secret", self.old_secret, self.old_secret_file),
        )
        return tuple(each for each in found if each is not None)


class NotifySettings(Section):
    """Notifications, which `clipline notify` sends, and a process of `clipline run` where there are channels."""

    enabled: bool = Field(
        True,  # noqa: FBT003  a default
        description="Let `clipline run` send them, where there are channels. false: it starts no process for them.",
    )
    group: Annotated[str, AfterValidator(check_group)] = Field(
        "clipline-notify",
        min_length=1,
        description="Kafka consumer group of whoever sends them. Sites that share a broker under different prefixes "
        "need different groups.",
    )
    keep_days: float = Field(
        30.0, gt=0, le=MAX_DAYS / 86_400, description="Days that the ledger of deliveries is kept."
    )
    debounce_seconds: float = Field(
        60.0,
        ge=1,
        le=3600,
        description="Seconds that trouble of a camera, agent, worker or disk lasts before channels with `conditions` "
        "are told of it, and that it is over before they are told of that.",
    )
    max_open: int = Field(
        10_000,
        ge=10,
        le=1_000_000,
        description="Messages of one channel that wait to be delivered, or are held back, at most. What is more fails "
        "at once, and the ledger says so.",
    )


def check_keeping(notify: NotifySettings, channels: Mapping[str, ChannelSettings], snooze_hours: float) -> None:
    """Raise ValueError where the ledger is not kept for longer than messages are held back.

    They are known from the ledger alone: who begins after an entry was deleted tells nobody of it.
    """
    held = {f"channels.{name}": channel.longest_held_hours for name, channel in channels.items()}
    for name, hours in {**held, "verdicts.snooze_hours": snooze_hours}.items():
        if hours >= notify.keep_days * 24:
            raise ValueError(f"notify.keep_days: expected more than {hours / 24:g}: so long {name} holds back")


#: What a template may name.
TEMPLATE_NAMES: Final = frozenset({"label", "camera", "state", "start", "end", "seconds", "score", "event", "model"})


def _check_template(name: str, text: str) -> None:
    """Raise ValueError where a template cannot be filled in."""
    try:
        text.format(**dict.fromkeys(TEMPLATE_NAMES, ""))
    except (KeyError, IndexError, ValueError, AttributeError, TypeError) as error:
        names = ", ".join(sorted(TEMPLATE_NAMES))
        raise ValueError(f"{name}: expected a text in which {{…}} names one of {names} ({error})") from None
