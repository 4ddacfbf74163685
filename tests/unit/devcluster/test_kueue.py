from devcluster.kueue import reachable


def service(**more: object) -> dict[str, object]:
    return {"name": "kueue-webhook-service", "namespace": "kueue-system", **more}


def test_webhooks_are_called_at_the_port_of_the_process() -> None:
    document = {"kind": "MutatingWebhookConfiguration", "webhooks": [{"clientConfig": {"service": service()}}]}
    assert reachable(document, 4711)["webhooks"] == [{"clientConfig": {"service": service(port=4711)}}]


def test_conversions_are_called_there_too() -> None:
    conversion = {"strategy": "Webhook", "webhook": {"clientConfig": {"service": service(path="/convert")}}}
    document = {"kind": "CustomResourceDefinition", "spec": {"conversion": conversion}}
    called = reachable(document, 4711)["spec"]["conversion"]["webhook"]["clientConfig"]["service"]
    assert called == service(path="/convert", port=4711)


def test_what_has_no_webhook_stays_as_it_is() -> None:
    document = {"kind": "ClusterRole", "rules": []}
    assert reachable(dict(document), 4711) == document
