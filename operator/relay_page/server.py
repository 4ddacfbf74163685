"""The page as a process: `gpu-relay page`."""

import uvicorn

from relay_page.app import create_app
from relay_page.settings import PageSettings

_FAREWELL_SECONDS = 2


def run(settings: PageSettings) -> None:
    """Serve until SIGTERM or SIGINT; open feeds do not hold up the end.

    Raises:
        ValueError: the API server's certificates cannot be read.

    """
    uvicorn.run(
        create_app(settings),
        host=settings.address,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_FAREWELL_SECONDS,
    )
