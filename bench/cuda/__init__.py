"""What only a CUDA GPU can show, measured in one run: `python -m bench.cuda --help`."""
