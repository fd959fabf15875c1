"""Measuring: side by side in one run, in turns, so that a busy moment hits every side."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

#: One figure of one repetition.
Measure = Callable[[], float]


@dataclass
class Comparison:
    """Figures of the same kind, measured in turns; each is told as a ratio to one of them.

    ``sides`` are the measures by name; ``base`` names the one that is 1; ``goal`` says in
    words what the issue of this figure asks for, empty where it asks for nothing.
    """

    key: str
    title: str
    unit: str
    sides: Mapping[str, Measure]
    base: str
    goal: str = ""
    repetitions: int = 5
    figures: dict[str, list[float]] = field(default_factory=dict)

    def run(self, say: Callable[[str], None]) -> None:
        """Measure every side ``repetitions`` times, in turns."""
        for repetition in range(self.repetitions):
            for name, measure in self.sides.items():
                figure = measure()
                self.figures.setdefault(name, []).append(figure)
                say(f"{self.key} {repetition + 1}/{self.repetitions} {name}: {figure:,.4g}")

    def ratios(self, name: str) -> list[float]:
        """The ratios to the base, repetition by repetition."""
        pairs = zip(self.figures[name], self.figures[self.base], strict=True)
        return [figure / base for figure, base in pairs]

    def as_dict(self) -> dict[str, Any]:
        """For the JSON record."""
        return {
            "key": self.key,
            "title": self.title,
            "unit": self.unit,
            "base": self.base,
            "goal": self.goal,
            "day": str(datetime.now(UTC).date()),
            "figures": self.figures,
            "ratios": {name: self.ratios(name) for name in self.figures},
        }


def as_markdown(measured: Mapping[str, Any]) -> str:
    """A heading and a table of what :meth:`Comparison.as_dict` gives."""
    lines = [f"### {measured['key']}. {measured['title']}", ""]
    if measured["goal"]:
        lines += [f"Asked for: {measured['goal']}.", ""]
    lines += [
        f"| | {measured['unit']} (median) | lowest to highest "
        f"| ratio to *{measured['base']}* (median) | lowest to highest |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    whole = all(float(one).is_integer() for each in measured["figures"].values() for one in each)
    for name, figures in measured["figures"].items():
        ratios = measured["ratios"][name]
        lines.append(
            f"| {name} | {shown(statistics.median(figures), whole)} | {span(figures, whole)} "
            f"| {shown(statistics.median(ratios))} | {span(ratios)} |"
        )
    return "\n".join(lines) + "\n"


def span(figures: list[float], whole: bool = False) -> str:
    """The lowest and the highest."""
    return f"{shown(min(figures), whole)} to {shown(max(figures), whole)}"


def shown(figure: float, whole: bool = False) -> str:
    """A figure with three significant digits; a high one, or a ``whole`` one, without decimals."""
    return f"{figure:,.0f}" if whole or figure >= 100 else f"{figure:#.3g}"


@dataclass(frozen=True)
class Child:
    """A finished child process: seconds from start to end, its output."""

    seconds: float
    output: str


def run_child(command: list[str], folder: Path, **environment: str) -> Child:
    """Run a command in ``folder``; raises ``RuntimeError`` with its output if it fails."""
    with (folder / "child.log").open("w+") as log:
        started = time.perf_counter()
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        )
        process.wait()
        seconds = time.perf_counter() - started
        log.seek(0)
        output = log.read()
    if process.returncode:
        raise RuntimeError(f"{command} ended with {process.returncode}:\n{output[-3000:]}")
    return Child(seconds, output)


def told(child: Child) -> dict[str, Any]:
    """The JSON object on the last line of a child's output."""
    return json.loads(child.output.rstrip().rsplit("\n", 1)[-1])


def python(*arguments: object) -> list[str]:
    """The command of this Python, warnings left out (peers have some)."""
    return [sys.executable, "-W", "ignore", *map(str, arguments)]
