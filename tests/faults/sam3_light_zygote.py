"""The zygote without its heavy imports, so that forking is tested quickly; a variable selects a fault."""

import json
import os
import threading
import time

from sam3_server.worker import zygote

FAULT = "SAM3_TEST_FAULT"
LIGHT = json.__name__


def main() -> None:
    match os.environ.get(FAULT):
        case "threads":
            threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
        case "import error":
            raise ImportError("a library is missing")
        case "slow imports":
            time.sleep(60)
    zygote.PRELOADED_MODULE = LIGHT
    zygote.main()


if __name__ == "__main__":
    main()
