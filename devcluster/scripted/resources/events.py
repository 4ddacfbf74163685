"""Events of jobs, which the operator writes."""

from devcluster.scripted.manifests import Object
from devcluster.scripted.resources.namespace import Namespace


class Events(Namespace):
    """Events of one namespace."""

    def events(self, name: str) -> list[str]:
        """Return the reasons of a job's Events in the order in which they were written."""
        return [item["reason"] for item in self._events(name)]

    def event(self, name: str, reason: str) -> Object | None:
        """Return the first Event of a job with this reason; None while there is none."""
        return next((item for item in self._events(name) if item["reason"] == reason), None)

    def event_message(self, name: str, reason: str) -> str:
        """Return the type and message of the first Event of a job with this reason; empty while there is none."""
        event = self.event(name, reason)
        return f"{event['type']}: {event['note']}" if event else ""

    def _events(self, name: str) -> list[Object]:
        items = self._expect(self.api.get(f"/apis/events.k8s.io/v1/namespaces/{self.namespace}/events"))["items"]
        mine = [
            item
            for item in items
            if item["regarding"].get("name") == name and item["regarding"]["kind"] == "YoloTrainingJob"
        ]
        return sorted(mine, key=lambda item: str(item["eventTime"]))
