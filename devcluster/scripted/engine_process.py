"""A scripted engine as a process, on the simulated GPU of its environment: `python -m … PORT`."""

import os
import sys
import threading

from devcluster.scripted.engines import Vllm
from gpu_memory import Ledger
from gpu_memory.nvml import SIMULATED_GPU

if __name__ == "__main__":
    Vllm(Ledger(os.environ[SIMULATED_GPU]), port=int(sys.argv[1]))
    threading.Event().wait()
