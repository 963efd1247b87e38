"""kubeconform, which holds manifests to the schemas of Kubernetes without a cluster; the schemas are the API server's own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from kit.cluster import Cluster

VERSION = "v0.7.0"
LOCATION = "{{.ResourceKind}}-{{.Group}}-{{.ResourceAPIVersion}}.json"
UNKNOWN = "PodMonitor"
"""A kind of the chart's that this API server does not know."""
_GROUP_VERSION_KIND = "x-kubernetes-group-version-kind"


class CannotBuild(Exception):
    """The sentence says why the program is not to be had."""


def program(cache: Path) -> Path:
    """Its path; built once, in seconds.

    :param cache: the folder of what developers build.
    :raises CannotBuild: there is no Go, or it failed.
    """
    target = cache / f"kubeconform-{VERSION}" / "kubeconform"
    if target.is_file():
        return target
    if shutil.which("go") is None:
        raise CannotBuild("kubeconform cannot be built: there is no go on the PATH")
    words = ["go", "install", "-trimpath", f"github.com/yannh/kubeconform/cmd/kubeconform@{VERSION}"]
    built = subprocess.run(words, env=os.environ | {"GOBIN": str(target.parent)}, capture_output=True, text=True, check=False)
    if built.returncode != 0:
        raise CannotBuild(f"{' '.join(words)} failed: {built.stderr.strip()}")
    return target


def write_schemas(cluster: Cluster, folder: Path) -> None:
    """One file for each kind that the API server knows, its own definitions among them.
    https://kubernetes.io/docs/concepts/overview/kubernetes-api/#openapi-v3
    """
    for path in json.loads(cluster.kubectl("get", "--raw", "/openapi/v3"))["paths"]:
        schemas = json.loads(cluster.kubectl("get", "--raw", f"/openapi/v3/{path}")).get("components", {}).get("schemas", {})
        components = {"schemas": _strict(schemas)}
        for name, schema in schemas.items():
            for kind in schema.get(_GROUP_VERSION_KIND, ()):
                file = f"{kind['kind'].lower()}-{kind['group'] or kind['version']}-{kind['version']}.json"
                (folder / file).write_text(json.dumps({"$ref": f"#/components/schemas/{name}", "components": components}))


def check(program: Path, manifests: str, schemas: Path) -> str:
    """What is wrong with some manifests; empty: nothing."""
    words = [str(program), "-schema-location", f"{schemas}/{LOCATION}", "-skip", UNKNOWN, "-summary", "-"]
    result = subprocess.run(words, input=manifests, capture_output=True, text=True, timeout=60, check=False)
    return "" if result.returncode == 0 else result.stdout + result.stderr


def _strict(schema: Any) -> Any:
    """The same, where a field that it does not name is an error."""
    if isinstance(schema, list):
        return [_strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: _strict(each) for key, each in schema.items()}
    open_ = "additionalProperties" in schema or schema.get("x-kubernetes-preserve-unknown-fields")
    return made if open_ or not isinstance(schema.get("properties"), dict) else made | {"additionalProperties": False}
