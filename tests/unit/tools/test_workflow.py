"""The release workflow: only commands, which a shell can read, and `make release` with variables that it knows."""

import re
import subprocess

import yaml

from devcluster.paths import REPOSITORY

JOB = yaml.safe_load((REPOSITORY / ".github" / "workflows" / "release.yml").read_text())["jobs"]["release"]


def test_it_runs_no_actions_of_others() -> None:
    assert [step for step in JOB["steps"] if step.keys() - {"name", "run"}] == []


def test_a_shell_can_read_its_commands() -> None:
    for step in JOB["steps"]:
        subprocess.run(["bash", "-n"], input=step["run"], text=True, check=True)


def test_make_knows_the_variables_that_it_sets() -> None:
    (command,) = re.findall(r"make release (.*)$", "\n".join(step["run"] for step in JOB["steps"]), re.MULTILINE)
    used = set(re.findall(r"\$\((?:if \$\()?(\w+)\)", (REPOSITORY / "Makefile").read_text()))
    assert set(re.findall(r"(\w+)=", command)) <= used
