"""What the operator costs at scale: `python -m bench.scale --help`."""
