"""How help is laid out: commands in groups, options in sections, and no summary cut.

The text comes from typer. Its own panels (`rich_markup_mode`) cut words at 80 columns, and its plain help knows neither
groups nor sections: only these two are added here.
"""

from __future__ import annotations

from typing import Any, Final

from typer.core import TyperCommand, TyperGroup

#: The groups of commands, and the commands of each by name, in the order in which `clipline --help` lists them.
GROUPS: Final = {
    "Run": ("demo", "init", "check", "run", "up", "attach", "work", "rules", "drill"),
    "Look": (
        "status",
        "events",
        "evidence",
        "footage",
        "forget",
        "pictures",
        "notify",
        "deliveries",
        "verdicts",
        "dashboard",
        "share",
        "shares",
        "deadletter",
        "redis",
        "models",
    ),
    "Judge": ("replay", "tune", "evaluate", "compare"),
    "Learn": ("train", "distill", "mine", "export"),
}
#: Commands that stand in no group are listed under this heading; a test fails where there is one.
UNGROUPED: Final = "Other"
#: Sections of options that come after all others.
ADVANCED: Final = "Advanced options"
CONNECTION: Final = "Connection"
_OPTIONS: Final = "Options"

# Contexts and formatters are of a click that typer carries inside itself, so their types cannot be named here.


class Command(TyperCommand):
    """A command whose options are listed in the sections that `rich_help_panel` names."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], _OPTIONS: []}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is None:
                continue
            if param.param_type_name == "argument":
                # Its name alone: what follows is Python's name of its type.
                sections["Arguments"].append((record[0].partition(" ")[0], record[1]))
            else:
                sections.setdefault(getattr(param, "rich_help_panel", None) or _OPTIONS, []).append(record)
        for name in sorted(sections, key=_place):
            if sections[name]:
                with formatter.section(name):
                    formatter.write_dl(sections[name])


def _place(section: str) -> int:
    return (ADVANCED, CONNECTION).index(section) + 1 if section in {ADVANCED, CONNECTION} else 0


class Group(TyperGroup):
    """The application: its commands by group, each with its whole summary."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        # One width for all, so that the summaries of every group stand below one another.
        width = max(map(len, self.commands))
        for title, names in grouped(list(self.commands)).items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), summary(self.commands[name])) for name in names])
        with formatter.section(_OPTIONS):
            formatter.write_dl([r for p in self.get_params(ctx) if (r := p.get_help_record(ctx)) is not None])


def grouped(names: list[str]) -> dict[str, list[str]]:
    """The names of commands by group, in order; those of no group come last."""
    known = {name for group in GROUPS.values() for name in group}
    found = {title: [name for name in group if name in names] for title, group in GROUPS.items()}
    found[UNGROUPED] = [name for name in names if name not in known]
    return {title: group for title, group in found.items() if group}


def summary(command: Any) -> str:
    """What a command does, in its help's first paragraph."""
    return " ".join((command.short_help or command.help or "").partition("\n\n")[0].split())
