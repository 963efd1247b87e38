"""Thirty fixed JSON schemas as applications send them: arguments of tools, Kubernetes objects, and documents of public standards.

Names, types and required properties are those of the sources. Left out are descriptions, which no grammar sees, and parts of the
larger objects. Strings have no bound where the source sets none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
WHOLE: Schema = {"type": "integer"}
FLAG: Schema = {"type": "boolean"}
NUMBER: Schema = {"type": "number"}
URI: Schema = {"type": "string", "format": "uri"}
TIME: Schema = {"type": "string", "format": "date-time"}
LABEL: Schema = {"type": "string", "maxLength": 63, "pattern": "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"}
PORT: Schema = {"type": "integer", "minimum": 1, "maximum": 65535}
SECONDS: Schema = {"type": "integer", "minimum": 1, "maximum": 3600}

MCP = "https://github.com/modelcontextprotocol/servers"
OPENAI = "https://platform.openai.com/docs/guides/function-calling"
KUBERNETES = "https://kubernetes.io/docs/reference/generated/kubernetes-api/v1.34/"


@dataclass(frozen=True, slots=True)
class Case:
    """One schema.

    :ivar long_keys: most of an answer is names of properties, which the grammar forces.
    """

    name: str
    source: str
    schema: Schema
    long_keys: bool = False


def obj(required: Schema, optional: Schema | None = None) -> Schema:
    """An object without other properties."""
    properties = required | (optional or {})
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


def arr(items: Schema, most: int = 3) -> Schema:
    """An array of some items."""
    return {"type": "array", "items": items, "minItems": 1, "maxItems": most}


def one_of(*values: str) -> Schema:
    """A choice of words."""
    return {"type": "string", "enum": list(values)}


PROBE = obj(
    {
        "initialDelaySeconds": SECONDS,
        "periodSeconds": SECONDS,
        "timeoutSeconds": SECONDS,
        "successThreshold": SECONDS,
        "failureThreshold": SECONDS,
        "terminationGracePeriodSeconds": SECONDS,
    }
)
SECURITY = obj(
    {
        "allowPrivilegeEscalation": FLAG,
        "privileged": FLAG,
        "readOnlyRootFilesystem": FLAG,
        "runAsNonRoot": FLAG,
        "procMount": one_of("Default", "Unmasked"),
    }
)
SPREAD = obj(
    {
        "maxSkew": SECONDS,
        "minDomains": SECONDS,
        "nodeAffinityPolicy": one_of("Honor", "Ignore"),
        "nodeTaintsPolicy": one_of("Honor", "Ignore"),
        "topologyKey": one_of("kubernetes.io/hostname", "topology.kubernetes.io/zone"),
        "whenUnsatisfiable": one_of("DoNotSchedule", "ScheduleAnyway"),
    }
)
SCALING = obj(
    {"stabilizationWindowSeconds": SECONDS, "selectPolicy": one_of("Max", "Min", "Disabled")},
    {"policies": arr(obj({"periodSeconds": SECONDS, "type": one_of("Pods", "Percent"), "value": SECONDS}), 2)},
)
GEOMETRY = obj({"type": {"const": "Point"}, "coordinates": {"type": "array", "items": NUMBER, "minItems": 2, "maxItems": 3}})
PAGE = {"type": "integer", "minimum": 1, "maximum": 100}

TOOLS = (
    Case("read_text_file", MCP, obj({"path": TEXT}, {"tail": PAGE, "head": PAGE})),
    Case("edit_file", MCP, obj({"path": TEXT, "edits": arr(obj({"oldText": TEXT, "newText": TEXT}), 2)}, {"dryRun": FLAG})),
    Case("search_files", MCP, obj({"path": TEXT, "pattern": TEXT}, {"excludePatterns": arr(TEXT)})),
    Case("git_log", MCP, obj({"repo_path": TEXT}, {"max_count": PAGE, "start_timestamp": TIME, "end_timestamp": TIME})),
    Case("fetch", MCP, obj({"url": URI}, {"max_length": WHOLE, "start_index": WHOLE, "raw": FLAG})),
    Case("create_entities", MCP, obj({"entities": arr(obj({"name": TEXT, "entityType": TEXT, "observations": arr(TEXT, 2)}), 2)})),
    Case(
        "sequentialthinking",
        MCP,
        obj({"thought": TEXT, "nextThoughtNeeded": FLAG, "thoughtNumber": PAGE, "totalThoughts": PAGE}, {"isRevision": FLAG}),
    ),
    Case("get_weather", OPENAI, obj({"location": TEXT, "units": one_of("celsius", "fahrenheit")})),
    Case("send_email", OPENAI, obj({"to": TEXT, "body": TEXT})),
    Case(
        "search_knowledge_base",
        OPENAI,
        obj(
            {
                "query": TEXT,
                "options": obj(
                    {
                        "num_results": PAGE,
                        "domain_filter": {"type": ["string", "null"]},
                        "sort_by": {"enum": ["relevance", "date", "popularity", "alphabetical", None]},
                    }
                ),
            }
        ),
    ),
)
OBJECTS = (
    Case("ContainerPort", KUBERNETES, obj({"containerPort": PORT}, {"name": LABEL, "protocol": one_of("TCP", "UDP", "SCTP")})),
    Case("SecurityContext", KUBERNETES, SECURITY, long_keys=True),
    Case("EnvVar", KUBERNETES, obj({"name": {"type": "string", "pattern": "^[A-Z_]{1,24}$"}, "value": TEXT})),
    Case("Probe", KUBERNETES, PROBE, long_keys=True),
    Case("ServicePort", KUBERNETES, obj({"port": PORT, "targetPort": {"anyOf": [PORT, LABEL]}}, {"name": LABEL, "nodePort": PORT})),
    Case("TopologySpreadConstraint", KUBERNETES, SPREAD, long_keys=True),
    Case("HPAScalingRules", KUBERNETES, SCALING, long_keys=True),
    Case(
        "JobSpec",
        KUBERNETES,
        obj(
            {
                "activeDeadlineSeconds": SECONDS,
                "backoffLimit": PAGE,
                "completionMode": one_of("Indexed", "NonIndexed"),
                "podReplacementPolicy": one_of("TerminatingOrFailed", "Failed"),
                "suspend": FLAG,
                "ttlSecondsAfterFinished": SECONDS,
            }
        ),
        long_keys=True,
    ),
    Case(
        "Toleration",
        KUBERNETES,
        obj({"effect": one_of("NoSchedule", "PreferNoSchedule", "NoExecute"), "operator": one_of("Exists", "Equal")}, {"key": LABEL}),
    ),
    Case(
        "Service",
        KUBERNETES,
        obj(
            {
                "apiVersion": {"const": "v1"},
                "kind": {"const": "Service"},
                "metadata": obj({"name": LABEL, "namespace": LABEL}),
                "spec": obj({"type": one_of("ClusterIP", "NodePort"), "ports": arr(obj({"port": PORT, "name": LABEL}), 2)}),
            }
        ),
    ),
)
DOCUMENTS = (
    Case("GeoJSON feature", "https://www.rfc-editor.org/rfc/rfc7946", obj({"type": {"const": "Feature"}, "geometry": GEOMETRY})),
    Case(
        "problem details",
        "https://www.rfc-editor.org/rfc/rfc9457",
        obj({"type": URI, "title": TEXT, "status": {"type": "integer", "minimum": 100, "maximum": 599}}, {"detail": TEXT}),
    ),
    Case(
        "JSON Patch",
        "https://www.rfc-editor.org/rfc/rfc6902",
        arr(obj({"op": one_of("add", "replace", "test"), "path": {"type": "string", "pattern": "^(/[a-z]{1,12}){1,3}$"}, "value": WHOLE})),
    ),
    Case(
        "JSON-RPC request",
        "https://www.jsonrpc.org/specification",
        obj({"jsonrpc": {"const": "2.0"}, "method": TEXT, "id": {"type": ["integer", "null"]}}, {"params": arr(WHOLE)}),
    ),
    Case(
        "CloudEvent",
        "https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/cloudevents.json",
        obj({"id": TEXT, "source": TEXT, "specversion": {"const": "1.0"}, "type": TEXT}, {"time": TIME}),
    ),
    Case("package.json person", "https://json.schemastore.org/package.json", obj({"name": TEXT}, {"email": TEXT, "url": URI})),
    Case(
        "web app manifest",
        "https://www.w3.org/TR/appmanifest/",
        obj({"name": TEXT, "display": one_of("fullscreen", "standalone", "browser"), "start_url": TEXT}, {"short_name": TEXT}),
    ),
    Case(
        "dependabot update",
        "https://json.schemastore.org/dependabot-2.0.json",
        obj(
            {
                "package-ecosystem": one_of("pip", "npm", "docker", "github-actions"),
                "directory": TEXT,
                "schedule": obj({"interval": one_of("daily", "weekly", "monthly")}),
                "open-pull-requests-limit": PAGE,
                "insecure-external-code-execution": one_of("allow", "deny"),
            }
        ),
    ),
    Case(
        "prettierrc",
        "https://json.schemastore.org/prettierrc.json",
        obj(
            {
                "arrowParens": one_of("always", "avoid"),
                "bracketSameLine": FLAG,
                "embeddedLanguageFormatting": one_of("auto", "off"),
                "experimentalOperatorPosition": one_of("start", "end"),
                "htmlWhitespaceSensitivity": one_of("css", "strict", "ignore"),
                "singleAttributePerLine": FLAG,
                "vueIndentScriptAndStyle": FLAG,
            }
        ),
        long_keys=True,
    ),
    Case(
        "postal address",
        "https://schema.org/PostalAddress",
        obj(
            {
                "streetAddress": TEXT,
                "addressLocality": TEXT,
                "postalCode": TEXT,
                "addressCountry": {"type": "string", "pattern": "^[A-Z]{2}$"},
            }
        ),
    ),
)
CASES = tuple(case for trio in zip(TOOLS, OBJECTS, DOCUMENTS, strict=True) for case in trio)
"""Mixed, so that any few of them in a row hold some of each kind."""
