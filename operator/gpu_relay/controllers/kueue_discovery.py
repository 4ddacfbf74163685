"""Find out whether Kueue is installed and has a check of the operator: what a process watches is fixed at its start."""

import asyncio
import logging

from gpu_relay.clients.admission_checks import AdmissionCheckStore
from gpu_relay.clients.workloads import WorkloadStore

logger = logging.getLogger(__name__)


class KueueDiscovery:
    """Looks for Kueue at the start and later; a process that finds something new ends, and the next one watches it."""

    def __init__(self, workloads: WorkloadStore, checks: AdmissionCheckStore) -> None:
        self._workloads = workloads
        self._checks = checks
        self._watches_checks = False
        self._outdated = asyncio.Event()

    async def find(self) -> tuple[bool, bool | None]:
        """Return whether Kueue is installed, and whether it has a check of the operator: what is then watched, too.

        The second is None if checks cannot be read. Raise KubeError if unknown.
        """
        await self._workloads.probe()
        checks = await self._checks.find()
        self._watches_checks = checks is not None
        return not self._workloads.absence, checks

    async def is_found_later(self) -> bool:
        """True if something that this process could not read at its start can be read. Raise KubeError if unknown."""
        if self._workloads.absence:
            await self._workloads.probe()
            if self._workloads.absence:
                return False
            self._end_process("Kueue has been installed")
        elif self._watches_checks or await self._checks.find() is None:
            return False
        else:
            self._end_process("AdmissionChecks of Kueue can be read now")
        return True

    def check_appeared(self) -> None:
        """End this process soon: it does not watch the Workloads of the first check of the operator."""
        self._end_process("the first AdmissionCheck of the operator has been created")

    def _end_process(self, reason: str) -> None:
        logger.warning("%s: this process ends, and the next one watches Workloads", reason)
        self._outdated.set()

    async def until_outdated(self) -> None:
        """Return when this process should end, for the next one to watch what could not be watched at its start."""
        await self._outdated.wait()
