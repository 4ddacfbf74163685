"""`kubectl-relay`, which kubectl finds as `kubectl relay`."""

import gc
import sys

import click

from kubectl_relay.commands import cli
from kubectl_relay.exits import Exit, RelayError

_OBJECTS = 100_000
"""New objects between two collections of garbage: imports create many and leave no garbage, a tenth of a start."""


def main() -> None:
    """Run a command; exits with a code of `exits.Exit`, and a sentence where it has failed."""
    gc.set_threshold(_OBJECTS)
    try:
        code = cli.main(prog_name="kubectl relay", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(Exit.INTERRUPTED)
    except RelayError as error:
        from kubectl_relay.show.console import say

        say(f"kubectl relay: {error}", err=True)
        sys.exit(error.code)
    sys.exit(code or Exit.OK)


if __name__ == "__main__":
    main()
