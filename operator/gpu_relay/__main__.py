"""The command line: `gpu-relay run` works in a pod and from a laptop."""

import argparse
import asyncio
import sys

from pydantic import ValidationError

from gpu_relay import __version__, process
from gpu_relay.effects import logs
from gpu_relay.effects.kube import KubeError
from gpu_relay.engine.leadership import LeadershipLostError
from gpu_relay.settings import Settings


def main() -> None:
    """Parse the command line and run; exits with 1 and a sentence when settings, cluster or leadership end it."""
    arguments = _parser().parse_args()
    try:
        settings = Settings()
        logs.to_stderr(settings.log_format, verbose=arguments.verbose)
        asyncio.run(process.run(settings))
    except (ValidationError, ValueError, KubeError, LeadershipLostError) as error:
        sys.exit(f"gpu-relay: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def _parser() -> argparse.ArgumentParser:
    fields = Settings.model_fields.items()
    settings = "\n".join(
        f"  GPU_RELAY_{name.upper()} (default {field.default!r})\n      {field.description}" for name, field in fields
    )
    parser = argparse.ArgumentParser(
        prog="gpu-relay",
        description="Runs YoloTrainingJobs on GPUs that inference pods own by default, and gives the GPUs back.",
        epilog="The cluster is the pod's own, or that of $KUBECONFIG. Settings are environment variables:\n\n"
        + settings,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=["run"], help="run the operator until it is told to stop")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument("-v", "--verbose", action="store_true", help="log every look at every GPU")
    return parser


if __name__ == "__main__":
    main()
