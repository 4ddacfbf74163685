"""The API server as seen from one namespace."""

import json

import httpx

from devcluster.scripted.manifests import Object


class Namespace:
    """Sends requests for one namespace; a refused request fails the test with the API server's answer."""

    def __init__(self, api: httpx.Client, namespace: str) -> None:
        self.api = api
        self.namespace = namespace

    def _patch(self, path: str, body: Object) -> Object:
        headers = {"Content-Type": "application/merge-patch+json"}
        return self._expect(self.api.patch(path, content=json.dumps(body), headers=headers))

    @staticmethod
    def _expect(answer: httpx.Response) -> Object:
        assert answer.is_success, f"{answer.request.method} {answer.request.url.path}: {answer.text}"
        return dict(answer.json())
