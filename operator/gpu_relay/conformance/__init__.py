"""The resident's contract as checks, for authors of inference servers: `gpu-relay conformance URL`."""
