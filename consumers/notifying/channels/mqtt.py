"""MQTT, with what Home Assistant needs to find the cameras by itself.

    BASE/status           online | offline, retained; offline is the client's will
    BASE/CAMERA/event     {"event_type": label, "delivery": id, …the report}, QoS 1
    BASE/CAMERA/image     before it, its strip (or the frame with the peak), WebP; QoS 0, not retained
    BASE/summary          what was held back
    BASE/drill            a drill, as an event
    homeassistant/event/BASE_CAMERA/config
                          an `event` entity for each camera, retained; told again when Home Assistant starts
    homeassistant/image/BASE_CAMERA/config
                          an `image` entity likewise, where the channel has pictures; empty where it has none

`delivery` is the same on each try, so a subscriber can tell a message that comes again.

A picture is not retained: Home Assistant would take it for a new one at each of its starts, and it would outlive its
time in Redis. Its QoS is 0, since what has another one is sent again with each connection: a broker that ends the
connection at a picture of this size would never get anything else.
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import threading
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final
from urllib.parse import unquote, urlsplit

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

from consumers import __version__
from consumers.notifying.ledger import MAX_CAMERAS, MAX_LABELS
from consumers.notifying.pictured import NO_PICTURES, Pictures
from consumers.notifying.plan import Again, Outcome, Sent
from consumers.records.delivery import Delivery
from consumers.records.prediction import content_id
from consumers.settings import SettingsError
from consumers.settings.sections.notifying import ChannelSettings

_DISCOVERY: Final = "homeassistant"
_ONLINE, _OFFLINE = "online", "offline"
_BASE: Final = re.compile(r"[A-Za-z0-9_-]+(?:/[A-Za-z0-9_-]+)*")
_PORTS: Final = {"mqtt": 1883, "mqtts": 8883}
#: How long the broker may take to hear that we are gone.
_END_SECONDS: Final = 2.0


def open_mqtt(name: str, address: str, settings: ChannelSettings) -> MqttChannel:
    """A channel that publishes at a broker.

    Raises:
        SettingsError: the address cannot be used.
    """
    expected = f"channels.{name}.url: expected an address like mqtt://user:password@host:1883/clipline"
    try:
        parts = urlsplit(address)
        port = parts.port or _PORTS[parts.scheme]
    except (ValueError, KeyError):
        raise SettingsError(expected) from None
    base = parts.path.strip("/") or "clipline"
    if not parts.hostname or not _BASE.fullmatch(base):
        raise SettingsError(expected)
    # An id of its own: a broker drops whoever has the same, and a test, a standby or another site may be there, too.
    client = Client(CallbackAPIVersion.VERSION2, client_id=f"clipline-{name}-{secrets.token_hex(4)}")
    if parts.username is not None:
        client.username_pw_set(unquote(parts.username), unquote(parts.password or ""))
    if parts.scheme == "mqtts":
        client.tls_set()
    return MqttChannel(
        client, parts.hostname, port, base, settings.timeout_seconds, has_pictures=settings.pictures == "inline"
    )


class MqttChannel:
    """Publishes messages, over one connection that is kept."""

    can_tell: ClassVar = True
    at_once: ClassVar = 16

    def __init__(
        self, client: Client, host: str, port: int, base: str, timeout_seconds: float, *, has_pictures: bool
    ) -> None:
        self._client, self._host, self._port, self._base, self._timeout = client, host, port, base, timeout_seconds
        self._has_pictures = has_pictures
        #: How often there was a connection.
        self._connections = 0
        self._lock = threading.Lock()
        self._started = self._has_status = False
        self._refusal = "no connection yet"
        self._connected = threading.Event()
        #: Labels of the cameras that Home Assistant was told of.
        self._labels: dict[str, list[str]] = {}
        client.on_connect, client.on_disconnect, client.on_message = self._greet, self._lost, self._heard
        client.reconnect_delay_set(1, 30)

    def begin(self, labels: Mapping[str, Sequence[str]]) -> None:
        """See `Channel.begin`. Home Assistant hears at once that we are there, and of cameras that it may have lost."""
        with self._lock:
            for camera, known in labels.items():
                mine = self._labels.setdefault(camera, [])
                mine += [label for label in known if label not in mine]
        # Only of the notifier people hear whether it is there, and not of a test.
        self._has_status = True
        self._client.will_set(f"{self._base}/status", _OFFLINE, qos=1, retain=True)
        self._start()

    def end(self, *, is_taken_over: bool) -> None:
        """See `Channel.end`."""
        with self._lock:
            if not self._started:
                return
            self._started = False
        if self._has_status and not is_taken_over and self._connected.is_set():
            with contextlib.suppress(RuntimeError, ValueError):
                said = self._client.publish(f"{self._base}/status", _OFFLINE, qos=1, retain=True)
                said.wait_for_publish(_END_SECONDS)
        self._connected.clear()
        self._client.disconnect()
        self._client.loop_stop()
        # A message that is still under way may connect once more, and is no notifier then.
        self._has_status = False
        self._client.will_clear()

    def send(self, delivery: Delivery, pictures: Pictures = NO_PICTURES) -> Outcome:
        """See `Channel.send`. It got there when the broker has acknowledged it."""
        self._start()
        if not self._connected.wait(self._timeout):
            return Again("unreachable", f"no MQTT broker at {self._host}:{self._port} ({self._refusal})")
        data: Mapping[str, Any] = delivery.message["data"]
        if delivery.drill is not None:  # no entity of Home Assistant, so that no automation takes it for an event
            topic, payload = f"{self._base}/drill", {"event_type": data["label"], **data}
        elif delivery.kind == "event":
            self._introduce(data["camera"], data["label"])
            topic, payload = f"{self._base}/{data['camera']}/event", {"event_type": data["label"], **data}
        else:
            topic, payload = f"{self._base}/{delivery.kind}", dict(data)
        connection = self._connections
        if delivery.kind == "event":
            # Before the event, so that who hears of it finds the picture.
            for picture in pictures.values():
                self._client.publish(f"{self._base}/{data['camera']}/image", picture)
        sent = self._client.publish(topic, json.dumps({**payload, "delivery": delivery.id}), qos=1)
        if sent.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            return Again("unreachable", f"MQTT broker at {self._host}:{self._port}: {sent.rc.name}")
        try:
            sent.wait_for_publish(self._timeout)
        except (RuntimeError, ValueError) as error:
            return Again("unreachable", str(error))
        if not sent.is_published():
            return Again("timeout", f"not acknowledged within {self._timeout:g} s")
        lost = (
            "; the connection was lost, maybe amid its picture" if pictures and connection != self._connections else ""
        )
        return Sent(f"acknowledged by the broker, {topic}{lost}")

    def _start(self) -> None:
        """Connect in the background, and again whenever the connection is lost."""
        with self._lock:
            if not self._started:
                self._client.connect_async(self._host, self._port, keepalive=30)
                self._client.loop_start()
                self._started = True

    def _greet(self, client: Client, _data: object, _flags: object, reason: Any, _properties: object) -> None:
        if reason.is_failure:
            self._refusal = str(reason)
            return
        self._connections += 1
        if self._has_status:
            client.publish(f"{self._base}/status", _ONLINE, qos=1, retain=True)
            client.subscribe(f"{_DISCOVERY}/status")
            self._introduce_all()
        self._connected.set()

    def _lost(self, _client: Client, _data: object, _flags: object, reason: Any, _properties: object) -> None:
        self._refusal = str(reason)
        self._connected.clear()

    def _heard(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        if message.topic == f"{_DISCOVERY}/status" and message.payload == _ONLINE.encode():
            self._introduce_all()

    def _introduce_all(self) -> None:
        with self._lock:
            known = {camera: list(labels) for camera, labels in self._labels.items()}
        for camera, labels in known.items():
            self._tell(camera, labels)

    def _introduce(self, camera: str, label: str) -> None:
        with self._lock:
            # Events of further ones are sent all the same; Home Assistant is not told of them.
            if camera not in self._labels and len(self._labels) >= MAX_CAMERAS:
                return
            labels = self._labels.setdefault(camera, [])
            if label in labels or len(labels) >= MAX_LABELS:
                return
            labels.append(label)
            told = list(labels)
        self._tell(camera, told)

    def _tell(self, camera: str, labels: list[str]) -> None:
        name = _object_id(f"{self._base}_{camera}")
        common = {
            "availability_topic": f"{self._base}/status",
            "device": {"identifiers": [name], "name": camera, "manufacturer": "Clipline", "sw_version": __version__},
        }
        action = {
            "name": "Action",
            "unique_id": f"{name}_event",
            "state_topic": f"{self._base}/{camera}/event",
            "event_types": labels,
            **common,
        }
        picture = {
            "name": "Picture",
            "unique_id": f"{name}_image",
            "image_topic": f"{self._base}/{camera}/image",
            "content_type": "image/webp",
            **common,
        }
        # An empty one takes an entity away that there was.
        shown = json.dumps(picture) if self._has_pictures else ""
        self._client.publish(f"{_DISCOVERY}/image/{name}/config", shown, qos=1, retain=True)
        self._client.publish(f"{_DISCOVERY}/event/{name}/config", json.dumps(action), qos=1, retain=True)


def _object_id(name: str) -> str:
    """A name as Home Assistant takes it; different ones stay different."""
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", name)
    return plain if plain == name else f"{plain}_{content_id(name)[:8]}"
