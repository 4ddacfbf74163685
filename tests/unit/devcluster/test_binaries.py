import re
from pathlib import Path

import pytest

from devcluster import binaries, go_tool, paths, versions


def test_versions_are_those_of_the_go_modules() -> None:
    required = {
        "kube": f"k8s.io/kubernetes v{versions.KUBERNETES}",
        "etcd": f"go.etcd.io/etcd/server/v3 v{versions.ETCD}",
        "kueue": f"sigs.k8s.io/kueue v{versions.KUEUE}",
        "kwok": f"sigs.k8s.io/kwok v{versions.KWOK}",
        "gitops": f"sigs.k8s.io/cli-utils v{versions.KSTATUS}",
        "argocd": f"github.com/argoproj/argo-cd/v3 v{versions.ARGO_CD}",
        "promql": f"github.com/prometheus/prometheus v{versions.PROMETHEUS}",
    }
    for module, line in required.items():
        text = (paths.GO_SOURCES / module / "go.mod").read_text()
        assert line in text
        assert f"\ngo {'.'.join(map(str, versions.GO_MINIMUM))}.0\n" in text


def test_every_component_of_kubernetes_is_a_tool_of_the_module() -> None:
    tools = re.findall(r"^\tk8s.io/kubernetes/cmd/(\S+)$", (paths.GO_SOURCES / "kube/go.mod").read_text(), re.MULTILINE)
    named = [name for name in (*versions.CONTROL_PLANE, *versions.NODE) if binaries.group_of(name) is binaries.KUBE]
    assert sorted(tools) == sorted(named)


def test_the_cache_key_follows_every_file(tmp_path: Path) -> None:
    (tmp_path / "go.mod").write_text("a")
    before = binaries.hash_files(tmp_path)
    assert before == binaries.hash_files(tmp_path)
    (tmp_path / "go.sum").write_text("")
    with_sum = binaries.hash_files(tmp_path)
    (tmp_path / "go.mod").write_text("b")
    assert len({before, with_sum, binaries.hash_files(tmp_path)}) == 3


@pytest.fixture
def assets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))
    return tmp_path


def add_program(folder: Path, name: str) -> Path:
    (folder / name).touch(mode=0o755)
    return folder / name


def test_kubebuilder_assets_are_used_where_they_hold_everything(assets: Path, cache: Path) -> None:
    expected = {name: add_program(assets, name) for name in versions.CONTROL_PLANE}
    assert binaries.ensure(versions.CONTROL_PLANE) == expected


def test_kubebuilder_assets_that_lack_something_are_not_mixed_in(assets: Path, cache: Path) -> None:
    add_program(assets, "etcd")
    (assets / "kube-apiserver").touch(mode=0o644)  # there, but no program
    wanted = ("etcd", "kube-apiserver")
    built = {}
    for name in wanted:
        folder = binaries.group_of(name).folder
        folder.mkdir(parents=True)
        built[name] = add_program(folder, name)
    assert binaries.ensure(wanted) == built


@pytest.mark.parametrize(
    ("text", "version"),
    [("go version go1.26.8 linux/amd64", (1, 26)), ("go1.9", (1, 9)), ("go version devel +abc", (0, 0)), ("", (0, 0))],
)
def test_go_versions_are_read(text: str, version: tuple[int, int]) -> None:
    assert go_tool.parse_version(text) == version
