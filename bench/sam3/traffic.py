"""Throughput and latency at so many clients, each sending its next request when it has its answer."""

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path

import httpx

PATIENCE = 3600.0


@dataclass(frozen=True)
class Traffic:
    """Images per second, and seconds from request to answer."""

    clients: int
    images: int
    images_per_second: float
    median: float
    p95: float


def measure(url: str, photograph: Path, clients: int, images: int) -> Traffic:
    """Send `images` requests with one prompt each, from `clients` clients."""
    return asyncio.run(_measure(url, photograph.read_bytes(), clients, images))


async def _measure(url: str, image: bytes, clients: int, images: int) -> Traffic:
    left = iter(range(images))
    seconds: list[float] = []
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=url, timeout=PATIENCE, limits=limits) as client:

        async def send() -> None:
            for _ in left:
                began = time.perf_counter()
                files, data = {"image": ("photograph.jpg", image)}, {"prompt": "bus", "threshold": "0.5"}
                (await client.post("/api/v1/segment", files=files, data=data)).raise_for_status()
                seconds.append(time.perf_counter() - began)

        began = time.perf_counter()
        await asyncio.gather(*(send() for _ in range(clients)))
        elapsed = time.perf_counter() - began
    ordered = sorted(seconds)
    return Traffic(clients, images, images / elapsed, ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.95)])
