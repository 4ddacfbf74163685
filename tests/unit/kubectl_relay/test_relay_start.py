"""What a start of the plugin imports: `--version`, `--help` and the completion of commands need no cluster."""

import json
import subprocess
import sys

import pytest

from gpu_relay import __version__
from kubectl_relay.deferred_imports import UNUSED

HEAVY = frozenset({"aiohttp", "asyncio", "kubernetes", "pydantic", "rich", "yaml"})
START = """
import json, sys
from kubectl_relay.{module} import main
sys.argv = ["kubectl-relay", *{arguments!r}]
try:
    main()
except SystemExit as ending:
    assert not ending.code, ending.code
finally:
    print()
    print(json.dumps(sorted(sys.modules)))
"""


def started(*arguments: str, module: str = "__main__") -> tuple[str, set[str]]:
    """Return what a new process prints, and the modules that it has imported at its end."""
    code = START.format(module=module, arguments=list(arguments))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *printed, modules = done.stdout.splitlines()
    return "\n".join(printed), set(json.loads(modules))


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["--version"], f"kubectl relay {__version__}"),
        (["--help"], "Show the history of each GPU."),
        (["gpus", "--help"], "Show the owner of each GPU"),
        (["watch", "--help"], "--timeout TIME"),
    ],
)
def test_version_and_help_import_nothing_heavy(arguments: list[str], shown: str) -> None:
    printed, modules = started(*arguments)
    assert shown in printed
    assert "kubectl_relay.commands" in modules, "the list of modules is the process's own"
    assert HEAVY & modules == set()


def test_the_completion_of_commands_imports_nothing_heavy() -> None:
    printed, modules = started("t", module="completion")
    assert printed == "timeline\tShow the history of each GPU.\n:4\n"
    assert HEAVY & modules == set()


def test_the_guard_sees_what_a_command_imports() -> None:
    """The other way round: what reads a cluster and shows it imports them all."""
    modules = "kubectl_relay.listing, kubectl_relay.effects.cluster"
    code = f"import json, sys, {modules}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(json.loads(done.stdout)) >= HEAVY


def test_a_command_imports_the_asynchronous_client_alone() -> None:
    code = f"import sys, kubectl_relay.effects.cluster; print(*({UNUSED!r} & sys.modules.keys()), sep='\\n')"
    code += "; print(len([name for name in sys.modules if name.startswith('kubernetes.client.')]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *deferred, loaded = done.stdout.split()
    assert set(deferred) == UNUSED, "known, and loaded at their first use"
    assert loaded == "0"


def test_a_deferred_module_works_at_its_first_use() -> None:
    code = "import kubectl_relay.effects.cluster, kubernetes; print(kubernetes.client.V1Pod(kind='Pod').kind)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "Pod"
