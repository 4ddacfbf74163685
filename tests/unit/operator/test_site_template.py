"""The site's pod template: what Kubernetes does not know, and what the relay sets itself, is refused at start."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from devcluster.paths import REPOSITORY
from gpu_relay.settings import Settings

TEMPLATES = sorted((REPOSITORY / "manifests").glob("**/trainer-pod-template.yaml"))
GOOD: dict[str, Any] = {
    "metadata": {"labels": {"team": "vision"}, "annotations": {"example.org/cost-centre": "42"}},
    "spec": {
        "priorityClassName": "gpu-relay-training",
        "runtimeClassName": "nvidia",
        "nodeSelector": {"pool": "gpu"},
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
        "securityContext": {"runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
        "initContainers": [{"name": "wait", "image": "busybox", "restartPolicy": "Always"}],
        "containers": [
            {
                "name": "trainer",
                "resources": {"requests": {"cpu": 2, "memory": "8Gi"}, "limits": {"memory": "16Gi"}},
                "env": [{"name": "NCCL_DEBUG", "value": "1"}],
                "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}],
            },
            {"name": "log-shipper", "image": "shipper", "livenessProbe": {"httpGet": {"port": 80, "path": "/"}}},
        ],
        "volumes": [{"name": "scratch", "emptyDir": {"sizeLimit": "10Gi"}}],
    },
}


def read(folder: Path, template: object) -> dict[str, Any]:
    file = folder / "template.yaml"
    file.write_text(template if isinstance(template, str) else yaml.safe_dump(template))
    return Settings(trainer_pod_template=file).trainer_defaults().template


def refused(folder: Path, template: object) -> str:
    with pytest.raises(ValueError, match="GPU_RELAY_TRAINER_POD_TEMPLATE") as refusal:
        read(folder, template)
    return str(refusal.value)


def test_a_good_template_is_taken_as_it_is(tmp_path: Path) -> None:
    assert read(tmp_path, GOOD) == GOOD


def shipped() -> list[tuple[str, str]]:
    found = [(str(file.relative_to(REPOSITORY)), file.read_text()) for file in TEMPLATES]
    values = yaml.safe_load((REPOSITORY / "manifests" / "chart" / "values.yaml").read_text())
    return [*found, ("manifests/chart/values.yaml", yaml.safe_dump(values["operator"]["trainerPodTemplate"]))]


@pytest.mark.parametrize(("file", "template"), shipped())
def test_the_shipped_templates_are_good(tmp_path: Path, file: str, template: str) -> None:
    assert read(tmp_path, template) == yaml.safe_load(template), file


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("spec: {tolerationz: []}", "spec.tolerationz is not a field of Kubernetes; did you mean tolerations?"),
        (
            "spec: {tolerations: [{key: gpu, operater: Exists}]}",
            "spec.tolerations[0].operater is not a field of Kubernetes; did you mean operator?",
        ),
        (
            "spec: {containers: [{name: trainer, resources: {request: {cpu: 2}}}]}",
            "spec.containers[0].resources.request is not a field of Kubernetes; did you mean requests?",
        ),
        (
            "spec: {volumes: [{name: a, persistentVolumeClaim: {claim: b}}]}",
            "spec.volumes[0].persistentVolumeClaim.claim is not a field of Kubernetes",
        ),
        (
            "spec: {volumes: [{name: a, persistentVolumeClaim: {claim: b}}]}",
            "spec.volumes[0].persistentVolumeClaim.claimName is missing",
        ),
        (
            "spec: {node_selector: {a: b}}",
            "spec.node_selector is not a field of Kubernetes; did you mean nodeSelector?",
        ),
        ("metadata: {label: {a: b}}", "metadata.label is not a field of Kubernetes; did you mean labels?"),
        (
            "spec: {tolerations: {key: gpu}}",
            'spec.tolerations: {"key": "gpu"} cannot be used: Input should be a valid array',
        ),
        ("spec: {nodeSelector: [gpu]}", 'spec.nodeSelector: ["gpu"] cannot be used: Input should be an object'),
        ("spec: {containers: [trainer]}", 'spec.containers[0]: "trainer" cannot be used: Input should be an object'),
        ("spec: {tolerations: }", "spec.tolerations has no value: set it, or remove it"),
        ("spec: ", "spec has no value"),
        (
            "spec: {nodeSelector: {gpu: true}}",
            "spec.nodeSelector.gpu: true is not a string; put it into quotation marks",
        ),
        (
            "spec: {containers: [{name: trainer, env: [{name: A, value: 1}]}]}",
            "spec.containers[0].env[0].value: 1 is not a string; put it into quotation marks",
        ),
        (
            "spec: {containers: [{name: trainer, resources: {limits: {memory: 16GB}}}]}",
            "spec.containers[0].resources.limits.memory: '16GB' is not a quantity; write for example 500m, 2 or 8Gi",
        ),
        ("spec: {hostNetwork: 'no'}", 'spec.hostNetwork: "no" cannot be used: Input should be a valid boolean'),
        ("spec: {priority: high}", 'spec.priority: "high" cannot be used: Input should be a valid integer'),
        ("spec: {containers: [{image: shipper}]}", "spec.containers[0].name is missing"),
        ("spec: {restartPolicy: OnFailure}", "spec.restartPolicy is set by the operator: remove it; it is always"),
        ("spec: {affinity: {}}", "spec.affinity is set by the operator: remove it; it pins the pod to the GPU's node"),
        ("spec: {nodeName: node-1}", "spec.nodeName is set by the operator: remove it"),
        ("spec: {volumes: [{name: tmp}]}", "spec.volumes[0].name: tmp is reserved for the operator: use another one"),
        ("spec: {resourceClaims: [{name: gpu}]}", "spec.resourceClaims[0].name: gpu is reserved for the operator"),
        ("metadata: {name: x}", "metadata.name is set by the operator: remove it"),
        (
            "metadata: {labels: {gpurelay.dev/resident: sam3}}",
            "metadata.labels[gpurelay.dev/resident] is set by the operator: remove it",
        ),
        *(
            (f"spec: {{containers: [{{name: trainer, {field}}}]}}", f"spec.containers[0].{said}")
            for field, said in [
                ("image: mine", "image is set by the operator: remove it; set GPU_RELAY_TRAINER_IMAGE instead"),
                ("args: [run]", "args is set by the operator"),
                ("ports: []", "ports is set by the operator"),
                ("restartPolicy: Always", "restartPolicy is set by the operator"),
                ("env: [{name: GPU_RELAY_JOB_FILE}]", "env[0].name: GPU_RELAY_JOB_FILE is reserved for the operator"),
                (
                    "volumeMounts: [{name: a, mountPath: /data}]",
                    "volumeMounts[0].mountPath: /data is reserved for the operator",
                ),
            ]
        ),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path: Path, template: str, said: str) -> None:
    assert said in refused(tmp_path, template)


def test_all_mistakes_are_named_at_once(tmp_path: Path) -> None:
    said = refused(tmp_path, "spec: {tolerationz: [], containers: [{name: trainer, enviroment: []}]}")
    assert "did you mean tolerations?; spec.containers[0].enviroment" in said


def test_another_container_may_have_what_the_trainer_may_not(tmp_path: Path) -> None:
    template = {"spec": {"containers": [{"name": "shipper", "image": "a", "args": ["b"], "ports": []}]}}
    assert read(tmp_path, template) == template


@pytest.mark.parametrize("text", ["", "- spec", "kind: Pod\nspec: {}", "spec: [", "a: b: c"])
def test_what_is_no_template_at_all(tmp_path: Path, text: str) -> None:
    assert "is not a PodTemplateSpec" in (said := refused(tmp_path, text)) or "cannot read" in said


def test_a_file_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot read"):
        Settings(trainer_pod_template=tmp_path / "no-such-file").trainer_defaults()
