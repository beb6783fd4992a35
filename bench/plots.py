"""Plots of the measurements, as SVG for the documentation."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

mpl.rcParams.update(
    {"svg.hashsalt": "access-keys", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
)

COLOURS = {"boto3": "#999999", "flat": "#4c78a8", "ours": "#f58518", "terraform": "#7b5ea7"}
LABELS = {
    "boto3": "boto3 alone",
    "flat": "Pulumi, flat",
    "ours": "Pulumi, this component",
    "terraform": "Terraform (real provider)",
}


def save(figure: Figure, path: Path) -> None:
    """Write an SVG that is the same for the same figures."""
    figure.savefig(path, bbox_inches="tight", facecolor="white", metadata={"Date": None})


def plot_steps(measurements: Sequence[Mapping[str, Any]], title: str, path: Path) -> None:
    """Seconds of each step for each program, one panel for each size, with the spread."""
    sizes = [size for size in dict.fromkeys(m["users"] for m in measurements) if size <= 200]
    steps = list(dict.fromkeys(m["step"] for m in measurements))
    figure = Figure(figsize=(4.2 * len(sizes), 3.6))
    for axis, users in zip(figure.subplots(1, len(sizes), squeeze=False)[0], sizes, strict=True):
        programs = [name for name in COLOURS if any((m["program"], m["users"]) == (name, users) for m in measurements)]
        height = 0.8 / len(programs)
        for row, program in enumerate(programs):
            for number, step in enumerate(steps):
                seconds = [
                    m["seconds"]
                    for m in measurements
                    if (m["users"], m["program"], m["step"]) == (users, program, step)
                ]
                if seconds:
                    middle = median(seconds)
                    axis.barh(
                        number + row * height,
                        middle,
                        height,
                        color=COLOURS[program],
                        label=LABELS[program] if number == 0 else None,
                        xerr=[[middle - min(seconds)], [max(seconds) - middle]] if len(seconds) > 1 else None,
                        error_kw={"elinewidth": 0.8, "ecolor": "#333333"},
                    )
        axis.set_yticks([number + 0.4 - height / 2 for number in range(len(steps))], steps)
        axis.invert_yaxis()
        axis.set_xlabel("seconds")
        axis.set_title(f"{users} user{'s' * (users > 1)}")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, fontsize=8, ncols=4, loc="upper center", bbox_to_anchor=(0.5, 0.02))
    figure.suptitle(title, y=1.0, fontsize=8, color="#555555")
    figure.tight_layout()
    save(figure, path)


def plot_sizes(measurements: Sequence[Mapping[str, Any]], title: str, path: Path) -> None:
    """Seconds by number of users, both axes logarithmic: the first up, and a preview without changes."""
    figure = Figure(figsize=(8.4, 3.4))
    for axis, step in zip(figure.subplots(1, 2), ("first up", "preview, no change"), strict=True):
        for program in dict.fromkeys(m["program"] for m in measurements):
            points: dict[int, list[float]] = {}
            for m in measurements:
                if (m["program"], m["step"]) == (program, step):
                    points.setdefault(m["users"], []).append(m["seconds"])
            if points:
                middles = [median(seconds) for seconds in points.values()]
                axis.loglog(list(points), middles, "o-", color=COLOURS[program], label=LABELS[program], markersize=4)
        axis.set_title(step)
        axis.set_xlabel("users")
        axis.set_ylabel("seconds")
        axis.xaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_formatter("")
    figure.axes[0].legend(frameon=False, fontsize=8)
    figure.suptitle(title, y=1.0, fontsize=8, color="#555555")
    figure.tight_layout()
    save(figure, path)
