"""The real `transformers serve` on a simulated GPU: `python -m … MIB PORT MODEL`.

The model is on the CPU, as there is no GPU. This process books what it would take of one, from before the model is
loaded until its end.
"""

import os
import sys

from transformers.cli.transformers import main

from gpu_memory import Ledger
from gpu_memory.nvml import SIMULATED_GPU

if __name__ == "__main__":
    mib, port, model = sys.argv[1:]
    Ledger(os.environ[SIMULATED_GPU]).book(int(mib))
    sys.argv = ["transformers", "serve", model, "--device", "cpu", "--host", "127.0.0.1", "--port", port]
    main()
