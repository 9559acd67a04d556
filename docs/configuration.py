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
```

`${NAME}` in a camera's address stands for an environment variable. Before the `@`, give the user and the password as
they are, without percent-encoding. Names of cameras and labels that are set by environment variables are lower case:
`CLIPLINE_CAMERAS__GATE__URL` sets `url` of `[cameras.gate]`. Addresses are never logged or shown with their password.
"""


def page() -> str:
    """The whole page as Markdown."""
    parts = [_HEAD]
    for table in described():
        parts.append(f"## {f'[{table.name}]' if table.name else 'Top of the file'}\n")
        if table.name:
            parts.append(f"{table.description}\n")
        parts.append("| key | type | default | what it does | environment variable |\n|---|---|---|---|---|")
        for entry in table.entries:
            default = f"`{entry.default}`" if entry.default is not None else "–"
            parts.append(
                f"| `{entry.key}` | {entry.type} | {default} | {_cell(entry.description)} | `{entry.variable}` |"
            )
        parts.append("")
    parts.append(
        f"`{NAME}` stands for a name of your own. Variables with the prefix that are no settings: `CLIPLINE_SETTINGS`, "
        "`CLIPLINE_KAFKA_LIBS` (the folder of Apache Kafka's jars).\n"
    )
    return "\n".join(parts)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
