"""What the figures of a run may be at most: rangespec.yaml."""

from pathlib import Path
from statistics import quantiles
from typing import Any

import yaml

_SPEC = Path(__file__).with_name("rangespec.yaml")


def summary(values: list[float]) -> dict[str, Any]:
    """Return how many values there are, their median, 99th percentile and maximum."""
    if len(values) < 2:
        return {"of": len(values)}
    cuts = quantiles(values, n=100, method="inclusive")
    return {"of": len(values), "p50": round(cuts[49], 3), "p99": round(cuts[98], 3), "max": max(values)}


def broken(figures: dict[str, Any]) -> list[str]:
    """Name each figure that is beyond its limit, with both; figures that a run does not have are not judged."""
    flat = dict(figures)
    for name, value in figures.items():
        if isinstance(value, dict):
            flat |= {f"{name} {key}": each for key, each in value.items()}
    limits: dict[str, dict[str, float]] = yaml.safe_load(_SPEC.read_text())
    found = ((name, flat.get(name), limit["most"]) for name, limit in limits.items())
    return [f"{name}: {value}, at most {most} allowed" for name, value, most in found if value and value > most]
