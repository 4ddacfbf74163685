import pytest

from devcluster.choose import Facts, choose, effective, obstacles
from devcluster.errors import ClusterError
from devcluster.runs import NodeKind

ABLE = Facts()
CANNOT = [
    (Facts(linux=False), "Linux"),
    (Facts(root=False), "root"),
    (Facts(lacking_capabilities=("CAP_SYS_ADMIN",)), "CAP_SYS_ADMIN"),
    (Facts(cgroups_writable=False), "read-only"),
    (Facts(missing_packages=("runc",), can_install=False), "runc"),
    (Facts(foreign_kubelet=True), "10250"),
    (Facts(lacking_disk="only 3 GiB are free"), "3 GiB"),
]


def test_a_kubelet_is_chosen_wherever_it_can_run() -> None:
    choice = choose(None, ABLE)
    assert choice.node is NodeKind.KUBELET
    assert "root on Linux" in choice.reason


@pytest.mark.parametrize(("facts", "word"), CANNOT)
def test_processes_are_chosen_elsewhere_with_the_reason(facts: Facts, word: str) -> None:
    choice = choose("auto", facts)
    assert choice.node is NodeKind.PROCESS
    assert word in choice.reason


@pytest.mark.parametrize(("facts", "word"), CANNOT)
def test_a_kubelet_asked_for_where_none_can_run_is_refused(facts: Facts, word: str) -> None:
    with pytest.raises(ClusterError, match=word):
        choose("kubelet", facts)


def test_packages_that_can_be_installed_are_no_obstacle() -> None:
    assert obstacles(Facts(missing_packages=("runc",), can_install=True)) == []


@pytest.mark.parametrize("node", ["none", "process"])
def test_what_was_asked_for_is_taken(node: str) -> None:
    choice = choose(node, ABLE)
    assert choice.node == node
    assert f"NODE={node}" in choice.reason


def test_an_unknown_node_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ClusterError, match=r"NODE=kublet .*kubelet, auto, existing"):
        choose("kublet", ABLE)


def test_effective_capabilities_are_read_from_proc_status() -> None:
    assert effective("Name:\tx\nCapPrm:\t0\nCapEff:\t000001fffeffffff\n") >> 21 & 1
    assert not effective("CapEff:\t00000000a80425fb\n") >> 21 & 1
