"""The queue of requests that are decoded, or about to be, before one worker, which serves their clients in rotation."""

from residency.fair_queue import FairQueue

DECODED = 4  # requests whose pixels are in memory: one is computed, one encoded, others are ready or being decoded
DECODED_PER_CLIENT = 3


def decode_queue() -> FairQueue:
    """Return the queue of one worker."""
    return FairQueue(DECODED, DECODED_PER_CLIENT)
