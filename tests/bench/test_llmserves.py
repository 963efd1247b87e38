"""What the benchmarks of the operator read from an audit log."""

from kit.audit import Request

from bench import llmserves

OPERATOR = "system:serviceaccount:vllama-system:vllama-operator"


def request(at: float, resource: str, name: str, *, verb: str = "create", user: str = OPERATOR) -> Request:
    return Request(user=user, namespace="team", resource=resource, verb=verb, allowed=True, name=name, at=at)


def test_an_llmserves_way_ends_with_what_the_operator_makes_of_it() -> None:
    asked = [
        request(10.0, "llmserves.vllama.dev", "known-1", user="admin"),
        request(10.1, "persistentvolumeclaims", "known-1-cache", verb="get"),
        request(10.2, "persistentvolumeclaims", "known-1-cache"),
        request(10.3, "deployments.apps", "known-1"),
        request(10.4, "replicasets.apps", "known-1-abc", user="system:kube-controller-manager"),
        request(10.5, "llmserves.vllama.dev", "known-2", user="admin"),
        request(10.5, "llmserves.vllama.dev", "new-1", user="admin"),
        request(10.6, "deployments.apps", "crowd-2"),
        request(10.9, "services", "new-1"),
    ]
    found = [llmserves.made_after(asked, OPERATOR, *words) for words in (("known",), ("known", "deployments.apps"), ("new",))]
    assert [[round(seconds, 3) for seconds in each] for each in found] == [[0.2], [0.3], [0.4]]


def test_what_keeps_the_lease_is_counted_apart() -> None:
    asked = [
        request(1.0, "leases.coordination.k8s.io", "vllama-operator", verb="update"),
        request(2.0, "pods", "", verb="watch"),
        request(3.0, "pods", "", verb="list", user="admin"),
        request(9.0, "pods", "", verb="watch"),
    ]
    assert llmserves.counted(asked, OPERATOR, 1.0, 9.0) == (1, 1)
