"""The ACL token's way to the Consul servers: a file, never the bootstrap.

Envoy reads the token from the file and adds it to its requests. A new token goes into
effect when the file is replaced by a rename, without a restart.
"""

from pathlib import Path
from typing import Any

SECRET = "consul-token"  # noqa: S105  # the secret's name in Envoy
HEADER = "x-consul-token"
"""Where Consul looks for the token."""

_TYPE = "type.googleapis.com/envoy"

Part = dict[str, Any]


def token_secret(token: str) -> Part:
    """Return what the token file holds: the discovery response Envoy reads it from."""
    return {
        "resources": [
            {
                "@type": f"{_TYPE}.extensions.transport_sockets.tls.v3.Secret",
                "name": SECRET,
                "generic_secret": {"secret": {"inline_string": token}},
            }
        ]
    }


def token_filters(token_file: Path) -> list[Part]:
    """Return the cluster's filters: one adds the token, the other is Envoy's own."""
    sds = {
        "path_config_source": {
            "path": str(token_file),
            "watched_directory": {"path": str(token_file.parent)},
        },
        "resource_api_version": "V3",
    }
    generic = f"{_TYPE}.extensions.http.injected_credentials.generic.v3.Generic"
    injector = f"{_TYPE}.extensions.filters.http.credential_injector.v3"
    codec = f"{_TYPE}.extensions.filters.http.upstream_codec.v3.UpstreamCodec"
    return [
        {
            "name": "envoy.filters.http.credential_injector",
            "typed_config": {
                "@type": f"{injector}.CredentialInjector",
                "overwrite": True,
                "credential": {
                    "name": "envoy.http.injected_credentials.generic",
                    "typed_config": {
                        "@type": generic,
                        "credential": {"name": SECRET, "sds_config": sds},
                        "header": HEADER,
                    },
                },
            },
        },
        {
            "name": "envoy.filters.http.upstream_codec",
            "typed_config": {"@type": codec},
        },
    ]
