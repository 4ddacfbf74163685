"""What the SAM3 server costs and gives, measured: `python -m bench.sam3 --help`."""
