"""Write docs/configuration.md, the reference of all settings, from the settings themselves.

python docs/configuration.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from consumers.setup.settings_file import NAME, described

PAGE: Final = Path(__file__).with_suffix(".md")
_HEAD: Final = """# Configuration

Written by `python docs/configuration.py` from `consumers/settings`: change the descriptions there, not this page.

Clipline reads one TOML file: `clipline.toml` in the working directory, or the one that `--settings` or the environment
variable `CLIPLINE_SETTINGS` names. `clipline init` writes one with every key and its default; `clipline check` says
what is wrong with it. An environment variable wins over the file, an option of the command line over both. Paths are
relative to the working directory. A key that is not listed here is an error.

```toml
# clipline.toml
kafka = "broker.example:9092"

[cameras.dock-1]                    # clipline run watches it
url = "rtsp://${DOCK_USER}:${DOCK_PASSWORD}@10.0.0.7/stream"

[cameras.gate]                      # the address is the only line of a file
url_file = "/run/secrets/gate"

[cameras.lobby]                     # recorded footage, again and again
url = "footage/lobby.mp4"
loop = true

[worker]
model = "x3d-xs"

[tracker.labels.fight]              # stricter than the model
start = 0.9
min_seconds = 3

[[rules]]                           # some cameras and labels, see rules.md
camera = "dock-*"
severity = "detection"
```

`${NAME}` in the address of a camera or of Redis stands for an environment variable. Before the `@`, it is taken as it
is: no percent-encoding. A password that is written into an address is taken as it is typed, too, also with `@`, `#`,
`?`, `/`, spaces or letters of any language; only `%` with two hexadecimal digits behind it is read as an escape, and
digits before a `/` or `?` in a camera's password as a port: write `%25`, `%2F`, `%3F` there. Names of cameras and
labels that are set by environment variables are lower case: `CLIPLINE_CAMERAS__GATE__URL` sets `url` of
`[cameras.gate]`. No message, log or record holds a password, and no error quotes the value of `kafka`, `redis` or a
camera.

A variable that begins with `CLIPLINE_` and is no setting is an error, but for those that Kubernetes sets for services
whose names begin with `clipline` (`CLIPLINE_REDIS_SERVICE_HOST`, `CLIPLINE_KAFKA_PORT_9092_TCP` …): they are left out.
"""


def page() -> str:
    """The whole page as Markdown."""
    parts = [_HEAD]
    for table in described():
        parts.append(f"## {table.header if table.name else 'Top of the file'}\n")
        if table.name:
            parts.append(f"{table.description}\n")
        parts.append("| key | type | default | what it does | environment variable |\n|---|---|---|---|---|")
        for entry in table.entries:
            default = f"`{entry.default}`" if entry.default is not None else "–"
            variable = f"`{entry.variable}`" if entry.variable is not None else "–"
            parts.append(f"| `{entry.key}` | {entry.type} | {default} | {_cell(entry.description)} | {variable} |")
        parts.append("")
    parts.append(
        f"`{NAME}` stands for a name of your own. Variables with the prefix that are no settings: `CLIPLINE_SETTINGS`, "
        "`CLIPLINE_KAFKA_LIBS` (the folder of Apache Kafka's jars), `CLIPLINE_MODEL_MIRROR` (the address of a folder "
        "with PyTorchVideo's checkpoints, from which `kinetics/x3d_s` and its like are downloaded instead).\n"
    )
    return "\n".join(parts)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
