"""Write the figures of the shipped models into README, docs/accuracy.md and the models' cards, from where they lie.

    python docs/figures.py

The figures are in the checkpoints' metadata, and of unseen clips in models/checkpoints/unseen.json. They are written
between two marks; everything else of those pages is left as it is.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from models import DEFAULT_MODEL, Contract, find, shipped
from models.evaluation.unseen import Unseen, measured_unseen

REPOSITORY: Final = Path(__file__).resolve().parents[1]
_BEGIN: Final = "<!-- figures: python docs/figures.py -->"
_END: Final = "<!-- end of figures -->"
_BLOCK: Final = re.compile(f"(?<={re.escape(_BEGIN)}\n).*?(?={re.escape(_END)})", re.DOTALL)


def pages() -> dict[Path, str]:
    """Every page that shows figures, as it should be."""
    unseen = measured_unseen()
    contracts = {name: find(name).contract for name in sorted(shipped(), key=lambda name: name != DEFAULT_MODEL)}
    texts = {
        REPOSITORY / "README.md": _readme(contracts, unseen),
        REPOSITORY / "docs" / "accuracy.md": _accuracy(contracts, unseen),
    }
    for name, contract in contracts.items():
        texts[shipped()[name].with_suffix(".md")] = _card(name, contract, unseen)
    return {path: _BLOCK.sub(lambda _, text=text: text, path.read_text("utf-8")) for path, text in texts.items()}  # type: ignore[misc]


def _readme(contracts: dict[str, Contract], unseen: Unseen) -> str:
    rows = [
        "| model | labels | clip | held-out accuracy on real CCTV (95 %) | on unseen clips (95 %) | MB |",
        "|---|---|---|---|---|---|",
    ]
    for name, contract in contracts.items():
        clip = f"{contract.frames} frames of {contract.height}x{contract.width}, {contract.spacing_seconds:g} s apart"
        rows.append(
            f"| {_named(name)} | {', '.join(contract.labels)} | {clip} | {_held_out(contract)} | "
            f"{_on_unseen(name, unseen)} | {shipped()[name].stat().st_size / 1e6:.1f} |"
        )
    return "\n".join([*rows, "", f"Unseen: {unseen.footage}. {_baseline(contracts, unseen)}", ""])


def _accuracy(contracts: dict[str, Contract], unseen: Unseen) -> str:
    rows = ["| model | held-out accuracy | on unseen clips | made with |", "|---|---|---|---|"]
    rows += [
        f"| {_named(name)} | {_held_out(contract)} | {_on_unseen(name, unseen)} | its card |"
        for name, contract in contracts.items()
    ]
    return "\n".join([*rows, "", f"Unseen: {unseen.footage}. {_baseline(contracts, unseen)}", ""])


def _card(name: str, contract: Contract, unseen: Unseen) -> str:
    reached = "" if unseen.reaches_baseline(contract.metrics) else ": more than this model"
    return (
        f"**Accuracy.** Five-fold cross-validation by source video: held-out {_held_out(contract)}, drawing whole "
        f"sources. On {unseen.footage}: {_on_unseen(name, unseen)}. {unseen.baseline_story}{reached}.\n"
    )


def _on_unseen(name: str, unseen: Unseen) -> str:
    """Those who have the clips measure a model after it has shipped."""
    return str(unseen.models[name]) if name in unseen.models else "not measured yet"


def _named(name: str) -> str:
    return f"`{name}` (default)" if name == DEFAULT_MODEL else f"`{name}`"


def _held_out(contract: Contract) -> str:
    found = contract.metrics
    value, low, high = (100 * found[name] for name in ("accuracy", "low", "high"))
    return f"{value:.1f} % ({low:.1f} to {high:.1f}), AUC {found['auc']:.3f}"


def _baseline(contracts: dict[str, Contract], unseen: Unseen) -> str:
    below = [f"`{name}`" for name, contract in contracts.items() if not unseen.reaches_baseline(contract.metrics)]
    less = f": {' and '.join(below)} {'do' if len(below) > 1 else 'does'} less" if below else ""
    return f"{unseen.baseline_story}{less}."


if __name__ == "__main__":
    for page, text in pages().items():
        page.write_text(text, encoding="utf-8")
