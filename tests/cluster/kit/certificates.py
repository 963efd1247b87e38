"""A certificate authority that lives as long as a test cluster, and the certificates that its programs and clients bear.

What each must hold: https://kubernetes.io/docs/setup/best-practices/certificates/
"""

from __future__ import annotations

import json
import secrets
import subprocess
from dataclasses import dataclass
from pathlib import Path

DAYS = 30
"""No test cluster lives that long, and no clock is that wrong."""
_EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """What one says.

    :ivar file: its name without suffix.
    :ivar user: the common name, which is the user's name to the API server.
    :ivar groups: the organizations, which are the user's groups.
    :ivar server_names: as ``DNS:…`` or ``IP:…``, for a server; empty for a client.
    """

    file: str
    user: str
    groups: tuple[str, ...] = ()
    server_names: tuple[str, ...] = ()

    @property
    def subject(self) -> str:
        return "".join(f"/O={group}" for group in self.groups) + f"/CN={self.user}"

    @property
    def extensions(self) -> str:
        if not self.server_names:
            return "extendedKeyUsage=clientAuth\n"
        return f"extendedKeyUsage=serverAuth\nsubjectAltName={','.join(self.server_names)}\n"


def make(pki: Path, certificates: list[Certificate]) -> None:
    """Write ``ca.crt``, the key of the service accounts' tokens, and a ``.crt`` and ``.key`` for each.

    :raises subprocess.CalledProcessError: openssl failed.
    """
    pki.mkdir(parents=True)
    _openssl(pki, "req", "-x509", *_EC, "-keyout", "ca.key", "-out", "ca.crt", "-days", str(DAYS), "-subj", "/CN=test-cluster")
    _openssl(pki, "genrsa", "-out", "service-accounts.key", "2048")
    for certificate in certificates:
        _sign(pki, certificate)


def write_kubeconfig(path: Path, *, pki: Path, client: str, server: str) -> None:
    """Say how a client reaches the API server: JSON, which is YAML."""
    user = {"client-certificate": str(pki / f"{client}.crt"), "client-key": str(pki / f"{client}.key")}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": server, "certificate-authority": str(pki / "ca.crt")}}],
        "users": [{"name": client, "user": user}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": client}}],
    }
    path.write_text(json.dumps(config, indent=1))


def _sign(pki: Path, certificate: Certificate) -> None:
    name = certificate.file
    (pki / f"{name}.ext").write_text(certificate.extensions)
    _openssl(pki, "req", "-new", *_EC, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", certificate.subject)
    authority = ("-CA", "ca.crt", "-CAkey", "ca.key", "-set_serial", f"0x{secrets.token_hex(16)}", "-days", str(DAYS))
    _openssl(pki, "x509", "-req", "-in", f"{name}.csr", *authority, "-extfile", f"{name}.ext", "-out", f"{name}.crt")


def _openssl(pki: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=pki, stderr=subprocess.DEVNULL, check=True)
