"""What `helm test` runs: LLMServe is served, and an operator holds the Lease and has renewed it lately. Standard library only."""

import datetime
import json
import os
import ssl
import sys
import time
import urllib.error
import urllib.request

ACCOUNT = os.environ.get("SERVICE_ACCOUNT", "/var/run/secrets/kubernetes.io/serviceaccount")
HOST, PORT = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
SERVER = f"https://[{HOST}]:{PORT}" if ":" in HOST else f"https://{HOST}:{PORT}"
NAMESPACE = os.environ["NAMESPACE"]
PATIENCE = float(os.environ.get("PATIENCE", "60"))
"""Seconds for an operator to start and take the Lease."""


def get(path):
    with open(f"{ACCOUNT}/token") as token:
        request = urllib.request.Request(SERVER + path, headers={"Authorization": f"Bearer {token.read().strip()}"})
    context = ssl.create_default_context(cafile=f"{ACCOUNT}/ca.crt")
    with urllib.request.urlopen(request, context=context, timeout=10) as answer:
        return json.load(answer)


def age(lease):
    renewed = datetime.datetime.fromisoformat(lease["spec"]["renewTime"].replace("Z", "+00:00"))
    return (datetime.datetime.now(datetime.UTC) - renewed).total_seconds()


def holder():
    """The replica that acts; None if there is none."""
    try:
        lease = get(f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/vllama-operator")
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        raise
    return lease["spec"].get("holderIdentity") if age(lease) < lease["spec"]["leaseDurationSeconds"] else None


kinds = [each["kind"] for each in get("/apis/vllama.dev/v1alpha1")["resources"]]
if "LLMServe" not in kinds:
    sys.exit("the API server does not know LLMServe: kubectl apply --server-side -f the chart's crds folder")
limit = time.monotonic() + PATIENCE
while (acting := holder()) is None:
    if time.monotonic() > limit:
        logs = f"kubectl logs -n {NAMESPACE} -l app.kubernetes.io/name=vllama-operator"
        sys.exit(f"no operator has renewed the Lease vllama-operator in {NAMESPACE}: {logs}")
    time.sleep(1)
print(f"LLMServe is served, and {acting} acts on it")
