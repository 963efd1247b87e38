"""`spec.podTemplate` laid over the pods that the operator makes. Pure.

As a strategic merge patch would: maps are merged, lists of named things by name (mounts by their path), all else is replaced, null removes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_KEYS = {"volumeMounts": "mountPath", "ports": "containerPort", "tolerations": None, "topologySpreadConstraints": None}
"""What identifies an element of a list; `name` where nothing is said, None: the list is replaced as a whole."""


def merged(base: Any, over: Any, *, field: str = "") -> Any:
    """`base` with what `over` says; neither is changed.

    :param field: the name of the field that holds them.
    """
    if isinstance(base, Mapping) and isinstance(over, Mapping):
        result = {key: value for key, value in base.items() if key not in over or over[key] is not None}
        for key, value in over.items():
            if value is not None:
                result[key] = merged(base.get(key), value, field=key)
        return result
    key = _KEYS.get(field, "name")
    if key is not None and _keyed(base, key) and _keyed(over, key):
        mine = {item[key]: item for item in base}
        theirs = {item[key]: merged(mine.get(item[key]), item) for item in over}
        return [theirs.get(name, item) for name, item in mine.items()] + [item for name, item in theirs.items() if name not in mine]
    return over


def _keyed(items: Any, key: str) -> bool:
    return isinstance(items, list) and bool(items) and all(isinstance(item, Mapping) and key in item for item in items)
