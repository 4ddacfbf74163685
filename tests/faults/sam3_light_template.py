"""The template without its heavy imports, so that forking can be tested in a moment; a variable says what ails it."""

import json
import os
import threading
import time

from sam3_server.worker import zygote

AILMENT = "SAM3_TEST_AILMENT"
LIGHT = json.__name__


def main() -> None:
    match os.environ.get(AILMENT):
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
