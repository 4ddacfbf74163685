"""The workflows: actions are pinned by commits, jobs have the least rights, and commands are of the Makefile."""

import re
import subprocess
from typing import Any

import pytest
import yaml

from devcluster.paths import REPOSITORY

WORKFLOWS = {file.stem: file for file in (REPOSITORY / ".github" / "workflows").glob("*.yml")}
RELEASE = yaml.safe_load(WORKFLOWS["release"].read_text())
MAY_WRITE = {
    "images": {"packages", "id-token", "attestations"},
    "chart": {"packages", "id-token", "attestations"},
    "packages": {"id-token"},
    "release": {"contents"},
}
"""What each job of the release may write; all others only read."""


@pytest.mark.parametrize("name", WORKFLOWS)
def test_actions_are_pinned_by_commits(name: str) -> None:
    used = re.findall(r"uses: (\S+)(.*)", WORKFLOWS[name].read_text())
    assert used
    for action, comment in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action)
        assert re.fullmatch(r" # v\d+\.\d+\.\d+", comment), "the version of the commit, for readers"


def commands(name: str) -> list[str]:
    jobs = yaml.safe_load(WORKFLOWS[name].read_text())["jobs"].values()
    return [step["run"] for job in jobs for step in job["steps"] if "run" in step]


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_shell_can_read_its_commands(name: str) -> None:
    for command in commands(name):
        subprocess.run(["bash", "-n"], input=command, text=True, check=True)


@pytest.mark.parametrize("name", WORKFLOWS)
def test_make_knows_its_targets_and_variables(name: str) -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z0-9-]+):", makefile, re.MULTILINE))
    variables = set(re.findall(r"\$\((?:if \$\()?(\w+)\)", makefile))
    called = [
        found for command in commands(name) for found in re.findall(r"\bmake ([a-z-]+)(.*)$", command, re.MULTILINE)
    ]
    assert called
    for target, arguments in called:
        assert target in targets
        assert set(re.findall(r"(\w+)=", arguments)) <= variables


def test_no_job_of_a_release_has_more_rights_than_it_needs() -> None:
    assert RELEASE["permissions"] == {}
    rights = {name: _written(job) for name, job in RELEASE["jobs"].items()}
    assert {name: writes for name, writes in rights.items() if writes} == MAY_WRITE


def _written(job: dict[str, Any]) -> set[str]:
    return {right for right, level in job["permissions"].items() if level == "write"}


def test_nothing_is_published_before_the_tests_have_passed() -> None:
    jobs = RELEASE["jobs"]
    for name in MAY_WRITE:
        assert "test" in _before(jobs, name)
        assert "build" in _before(jobs, name)


def _before(jobs: dict[str, Any], name: str) -> set[str]:
    needs = jobs[name].get("needs", [])
    direct = {needs} if isinstance(needs, str) else set(needs)
    return direct.union(*(_before(jobs, each) for each in direct))


def test_a_job_with_rights_runs_no_code_of_the_checkout() -> None:
    """A changed Makefile could otherwise use the rights."""
    for name in MAY_WRITE:
        steps = RELEASE["jobs"][name]["steps"]
        assert not [step for step in steps if "checkout" in step.get("uses", "") or "make " in step.get("run", "")]
