"""The plot of the benchmark's runs: every figure is drawn to scale, in both colour schemes."""

import xml.etree.ElementTree as ElementTree
from typing import Any

from bench.scale.plots import plot


def run(gpus: int, *figures: tuple[float, float]) -> dict[str, Any]:
    ways = ("relay", "plain Jobs", "Jobs in Kueue")
    return {
        way: {"gpus": gpus, "jobs per second": rate, "idle between turns": {"p50": idle}}
        for way, (rate, idle) in zip(ways, figures, strict=True)
    }


def test_each_value_is_written_and_drawn_to_scale() -> None:
    drawn = ElementTree.fromstring(plot([run(10, (4.5, 1.0), (3.6, 1.6), (0.9, 4.0))]))
    bars = drawn.findall(".//{*}rect")[1:]
    widths = [float(bar.get("width", "0")) for bar in bars]
    assert [round(width / widths[0], 2) for width in widths[:3]] == [1.0, 0.8, 0.2]
    assert [round(width / widths[5], 2) for width in widths[3:]] == [0.25, 0.4, 1.0]
    texts = [each.text for each in drawn.findall(".//{*}text")]
    assert {"4.50", "3.60", "0.90", "1.00", "1.60", "4.00"} <= set(texts)


def test_runs_are_in_the_order_of_their_gpus() -> None:
    figures = ((1.0, 1.0), (1.0, 1.0), (1.0, 1.0))
    drawn = ElementTree.fromstring(plot([run(40, *figures), run(10, *figures)]))
    assert [each.text for each in drawn.findall(".//{*}text[@class='soft']")] == ["10 GPUs", "40 GPUs"] * 2


def test_every_colour_has_one_for_the_dark_scheme() -> None:
    drawn = plot([run(10, (1.0, 1.0), (1.0, 1.0), (1.0, 1.0))])
    light, dark = drawn.split("</style>")[0].split("prefers-color-scheme: dark")
    for name in ("card", "text", "soft", "relay", "other"):
        assert f".{name} {{" in light
        assert f".{name} {{" in dark
    shapes = [each for each in ElementTree.fromstring(drawn).iter() if each.tag.endswith(("rect", "text"))]
    assert all(each.get("class") for each in shapes), "a shape without a class has one colour in both schemes"
