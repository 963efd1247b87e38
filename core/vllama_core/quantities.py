"""Amounts of memory as people and Kubernetes write them: ``24GiB``, ``24Gi``, ``500 MB``, bytes. Pure.

https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
"""

from __future__ import annotations

import re

_BYTES = re.compile(r"(?a:(\d{1,15}(?:\.\d{1,9})?)\s?(?:([KMGTP])(i)?)?B?)", re.IGNORECASE)


def parse_bytes(text: str) -> int:
    """Bytes: 1K = 1,000, 1Ki = 1,024; a B behind it says nothing more.

    :raises ValueError: it is no such amount; the sentence says what is.
    """
    found = _BYTES.fullmatch(text.strip())
    if found is None:
        raise ValueError('it must be an amount of memory, such as "24GiB", "24Gi", "24GB" or a number of bytes')
    number, prefix, binary = found.groups()
    exponent = " KMGTP".index(prefix.upper()) if prefix else 0
    return int(float(number) * (1024 if binary else 1000) ** exponent)
