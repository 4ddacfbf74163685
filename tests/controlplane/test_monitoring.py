"""The dashboard and the alerts query metrics that the programs export, in valid PromQL."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from devcluster import Cluster
from devcluster.paths import REPOSITORY
from devcluster.scripted.furnished import kustomized
from tests.support.exported import Exported, exported
from tests.support.gitops import misfits
from tests.support.pages import page
from tests.support.promql import Parsed, parsed

Object = dict[str, Any]
MONITORING = REPOSITORY / "manifests" / "components" / "monitoring"
DASHBOARD: Object = json.loads((MONITORING / "dashboards" / "gpu-relay.json").read_text())
RULES: Object = yaml.safe_load((MONITORING / "rules.yaml").read_text())
ALERTS: list[Object] = [rule for group in RULES["spec"]["groups"] for rule in group["rules"]]
OF_THE_TARGET = frozenset({"namespace", "pod", "container", "endpoint", "instance", "gpurelay_dev_job"})
"""Labels that Prometheus adds for the PodMonitors' targets; the last by their `podTargetLabels`."""


def expressions() -> Iterator[tuple[str, str]]:
    for alert in ALERTS:
        yield alert["alert"], alert["expr"]
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], re.sub(r"\$__\w+", "5m", target["expr"])


EXPRESSIONS = list(expressions())


@pytest.fixture(scope="module")
def understood() -> list[Parsed]:
    return parsed([expression for _, expression in EXPRESSIONS])


@pytest.fixture(scope="module")
def known() -> dict[str, Exported]:
    return exported()


def test_prometheus_understands_every_expression(understood: list[Parsed]) -> None:
    wrong = [(title, each.error) for (title, _), each in zip(EXPRESSIONS, understood, strict=True) if each.error]
    assert wrong == []
    assert {each.type for each in understood} == {"vector"}


def test_what_is_asked_for_is_exported(understood: list[Parsed], known: dict[str, Exported]) -> None:
    assert len(understood) > 50
    for (title, expression), each in zip(EXPRESSIONS, understood, strict=True):
        labels = frozenset[str]()
        for name, matchers in each.series:
            assert name in known, f"{title}: no process exports {name}"
            labels |= known[name].labels
            for matcher in matchers:
                assert matcher.label in known[name].labels | OF_THE_TARGET, (
                    f"{title}: {name} has no label {matcher.label}"
                )
                if matcher.type == "=" and matcher.label != "status":
                    assert matcher.value in known[name].words, f"{title}: {matcher.label} is never {matcher.value}"
        assert each.labels <= labels | OF_THE_TARGET, f"{title}: {expression}"


def test_the_check_rejects_unknown_metrics(known: dict[str, Exported]) -> None:
    """The check itself: what the programs do not export is not known."""
    assert "gpu_relay_turns_total" in known
    assert "gpu_relay_turns" not in known
    assert known["gpu_relay_step_seconds_bucket"].labels == {"step", "le"}
    assert parsed(["sum by (x) (rate(y[5m])"])[0].error


def test_alerts_name_their_object_and_what_to_do(understood: list[Parsed]) -> None:
    runbook = page("docs/operations.md").anchors
    for alert, each in zip(ALERTS, understood, strict=False):
        annotations = alert["annotations"]
        path, _, anchor = annotations["runbook_url"].partition("#")
        assert path == "docs/operations.md"
        assert anchor == alert["alert"].lower()
        assert anchor in runbook, f"docs/operations.md has no section {alert['alert']}"
        used = set(re.findall(r"\$labels\.(\w+)", annotations["summary"] + annotations["description"]))
        assert used <= each.labels, f"{alert['alert']}: its expression does not keep {used - each.labels}"
        assert alert["labels"]["severity"] in {"warning", "critical"}


def test_labels_of_the_target_are_those_of_the_pod_monitors() -> None:
    monitors = list(yaml.safe_load_all((MONITORING / "pod-monitors.yaml").read_text()))
    added = {re.sub(r"\W", "_", label) for each in monitors for label in each["spec"].get("podTargetLabels", [])}
    assert added <= OF_THE_TARGET


def test_the_component_is_complete(cluster: Cluster, tmp_path: Any) -> None:
    place = tmp_path / "kustomization.yaml"
    relative = "../" * (len(tmp_path.parts) - 1) + str(MONITORING)[1:]
    place.write_text(yaml.safe_dump({"kind": "Kustomization", "components": [relative]}))
    found = {(each["kind"], each["metadata"]["name"]): each for each in kustomized(cluster, tmp_path)}
    rules = found["PrometheusRule", "gpu-relay"]
    assert misfits([rules]) == [""]
    shown = found["ConfigMap", "gpu-relay-dashboard"]
    assert json.loads(shown["data"]["gpu-relay.json"]) == DASHBOARD
    assert shown["metadata"]["labels"] == {"grafana_dashboard": "1"}


def test_every_variable_selects_something() -> None:
    variables = [each["name"] for each in DASHBOARD["templating"]["list"] if each["type"] == "query"]
    assert variables == ["namespace", "gpu"]
    for name in variables:
        assert any(f'=~"${name}"' in expression for _, expression in EXPRESSIONS)


def test_panels_do_not_overlap() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert taken.setdefault((x, y), panel["title"]) == panel["title"]
