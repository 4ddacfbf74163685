"""The two ways to install GPU Relay on a GPU node, as docs/install.md and docs/operations.md have them.

A site sets what its cluster needs: images, a pull secret, the GPU node's label and taint, and settings. The simulated
GPU is added here, as NVIDIA's container runtime adds the driver on a real node.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import yaml

from tests.support.gitops import rendered
from tests.support.installing import DELETE, DELETE_HELM, MANIFESTS, UPGRADE, UPGRADE_HELM, call, run
from tests.support.pages import page
from tests.support.walk import Walker

Object = dict[str, Any]
SYSTEM = "gpu-relay"
TEAM = "vision"
PULL_SECRETS, INSTALL, INSTALL_HELM, JOBS_ARE_COUNTED = [
    block for block in page("docs/install.md").blocks if "test_manifests_to_weights.py" in block.reason
]
ROLLED_OUT = f"kubectl -n {SYSTEM} rollout status deployment/gpu-relay deployment/sam3"
"""Of docs/operations.md."""
_GPU_NODE = MANIFESTS / "overlays" / "gpu-node"
_LOCAL = MANIFESTS / "overlays" / "local"


@dataclass(frozen=True)
class Release:
    """A version as a site installs it: the reference of each image by name, and settings of the operator."""

    images: Mapping[str, str]
    settings: Mapping[str, str] = field(default_factory=dict)


class Installer(Protocol):
    """A way to install."""

    manager: str
    """The field manager of what it applies."""

    def install(self, release: Release) -> None:
        """Install a release; return when the operator runs."""

    def upgrade(self, release: Release) -> None:
        """Replace the installed release by another; return when operator and SAM3 run."""

    def uninstall(self) -> None:
        """Delete the install, and the CRD."""


class Kustomize:
    """A copy of overlays/gpu-node, with what the site changes in it."""

    manager = "kubectl"

    def __init__(self, shell: Walker) -> None:
        self._shell = shell
        self._overlay = shell.folder / "manifests" / "overlays" / "my-cluster"

    def install(self, release: Release) -> None:
        copy, *others = INSTALL.shown
        call(self._shell, copy.command)
        self._add_the_gpu()
        self._tolerate_the_taint()
        self._set(release)
        for step in others:
            call(self._shell, step.command)

    def upgrade(self, release: Release) -> None:
        self._set(release)
        run(self._shell, UPGRADE)
        call(self._shell, ROLLED_OUT)

    def uninstall(self) -> None:
        run(self._shell, DELETE)

    def _set(self, release: Release) -> None:
        file = self._overlay / "kustomization.yaml"
        overlay = yaml.safe_load(file.read_text())
        for image in overlay["images"]:
            reference = release.images[image["name"].partition("/")[2]]
            image["newName"], image["newTag"] = reference.rsplit(":", 1)
        settings = {"GPU_RELAY_TRAINER_IMAGE": release.images["yolo"], **release.settings}
        overlay["configMapGenerator"][0]["literals"] = [f"{name}={value}" for name, value in settings.items()]
        file.write_text(yaml.safe_dump(overlay, sort_keys=False))

    def _tolerate_the_taint(self) -> None:
        file = self._overlay / "pull-secret.yaml"
        text = file.read_text()
        assert "# tolerations:" in text
        file.write_text(text.replace("# tolerations:", "tolerations:"))

    def _add_the_gpu(self) -> None:
        shutil.copy(_LOCAL / "sam3.yaml", self._overlay / "gpu.yaml")
        file = self._overlay / "kustomization.yaml"
        overlay = yaml.safe_load(file.read_text())
        overlay["patches"].append({"path": "gpu.yaml"})
        file.write_text(yaml.safe_dump(overlay, sort_keys=False))
        (self._overlay / "trainer-pod-template.yaml").write_text(yaml.safe_dump(trainer_pod_template()))


class Chart:
    """The chart with values. Helm's engine renders it; kubectl applies and deletes what it renders."""

    manager = "helm"

    def __init__(self, shell: Walker) -> None:
        self._shell = shell
        self._folder = shell.folder / "release"

    def install(self, release: Release) -> None:
        """Install over the CRD of an earlier version, which Helm leaves as it is."""
        run(self._shell, UPGRADE_HELM)
        self._apply(release)
        run(self._shell, INSTALL_HELM)
        call(self._shell, INSTALL.shown[-1].command)

    def upgrade(self, release: Release) -> None:
        run(self._shell, UPGRADE_HELM)
        self._apply(release)
        call(self._shell, ROLLED_OUT)

    def uninstall(self) -> None:
        call(self._shell, "kubectl delete --ignore-not-found -f release/release.yaml")
        run(self._shell, DELETE_HELM)

    def _apply(self, release: Release) -> None:
        objects = rendered(MANIFESTS / "chart", SYSTEM, _values(release))
        helms = [each for each in objects if each["kind"] != "CustomResourceDefinition"]
        self._folder.mkdir(exist_ok=True)
        (self._folder / "rendered.yaml").write_text(yaml.safe_dump_all(helms))
        shutil.copy(_LOCAL / "sam3.yaml", self._folder / "gpu.yaml")
        post_renderer = {"resources": ["rendered.yaml"], "patches": [{"path": "gpu.yaml"}]}
        (self._folder / "kustomization.yaml").write_text(yaml.safe_dump(post_renderer))
        call(self._shell, "kubectl kustomize release > release/release.yaml")
        call(self._shell, f"kubectl apply --server-side --field-manager={self.manager} -f release/release.yaml")


def _values(release: Release) -> Object:
    template = trainer_pod_template()
    images = {
        name: dict(zip(("repository", "tag"), reference.rsplit(":", 1), strict=True))
        for name, reference in release.images.items()
    }
    return {
        "images": images,
        "imagePullSecrets": template["spec"]["imagePullSecrets"],
        "operator": {
            "settings": dict(release.settings),
            "tolerations": template["spec"]["tolerations"],
            "trainerPodTemplate": template,
        },
        "sam3": {
            "allowedNamespaces": TEAM,
            "nodeSelector": {"nvidia.com/gpu.present": "true"},
            "tolerations": template["spec"]["tolerations"],
        },
    }


def trainer_pod_template() -> Object:
    """Return the template of overlays/gpu-node, with the simulated GPU of overlays/local."""
    site, local = (
        yaml.safe_load((overlay / "trainer-pod-template.yaml").read_text())["spec"] for overlay in (_GPU_NODE, _LOCAL)
    )
    [trainer], [driver] = site["containers"], local["containers"]
    return {"spec": {**site, "containers": [{**driver, **trainer}], "volumes": local["volumes"]}}
