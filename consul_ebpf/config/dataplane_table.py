"""consul-dataplane's flags, variables and JSON keys: each with ours, or why not.

One table: what is accepted, docs/coming-from-consul-dataplane.md, and their tests come
from it.
"""

from dataclasses import KW_ONLY, dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One of consul-dataplane's options."""

    flag: str
    """Without its dash."""
    env: str = ""
    json: str = ""
    ours: str = ""
    """Our key or keys, or a command's option."""
    note: str = ""
    """What differs, or why there is none of ours."""
    _: KW_ONLY
    boolean: bool = False
    commands: tuple[str, ...] = ()
    """Those of ours that take the flag, where it means the same; then its variable is
    taken by all."""


_RUN = ("run",)
_ENVOY = ("envoy",)
_STOP = ("stop",)
OF_ONE_PROXY = ("envoy", "wait", "stop", "render")
"""Commands that are told of which proxy."""


def _accepted(*columns: str, commands: tuple[str, ...] = _RUN) -> Row:
    return Row(*columns, commands=commands)


def _switch(*columns: str, commands: tuple[str, ...] = _RUN) -> Row:
    return Row(*columns, boolean=True, commands=commands)


PER_PROXY = "one controller serves all proxies of a host"
NO_HOP = "there is no process between Envoy and the servers"
NO_PROCESS = "nothing of ours stays beside Envoy that could serve it: run"
NO_MERGE = (
    "nothing merges metrics: scrape Envoy and the service each; or name your own"
    " merging server in `telemetry.prometheus.backend_port`"
)
DNS = (
    "one VIP for the host, led to the servers' own DNS: without a token or the tenancy"
    " of each pod"
)
DEPRECATED = "deprecated there"

ROWS = (
    Row("version", ours="`consul-ebpf --version`"),
    Row(
        "config-file",
        ours="`--config`, `$CONSUL_EBPF_CONFIG`",
        note="TOML; its keys are in this table",
    ),
    Row(
        "check-proxy-health",
        ours="`wait --proxy ID --for connected --timeout 0`",
        note="or `GET /v1/proxies/ID` of the local endpoint",
    ),
    Row("mode", "DP_MODE", "mode", note="both: `dns.enabled` adds DNS for the host"),
    _accepted(
        "addresses",
        "DP_CONSUL_ADDRESSES",
        "consul.addresses",
        "`consul.addresses` and `consul.source`",
        '`source = "watch"`; with -server-watch-disabled `static`, `dns` or `exec`, by'
        " what the address is",
    ),
    _accepted(
        "grpc-port", "DP_CONSUL_GRPC_PORT", "consul.grpcPort", "`consul.grpc_port`"
    ),
    _switch(
        "server-watch-disabled",
        "DP_SERVER_WATCH_DISABLED",
        "consul.serverWatchDisabled",
        "`consul.source`",
        "see -addresses",
    ),
    _accepted(
        "log-level",
        "DP_LOG_LEVEL",
        "logging.logLevel",
        "`log.level`",
        "`trace` is `debug`; Envoy's too, when started by `consul-ebpf envoy`",
        commands=("run", "envoy"),
    ),
    _switch("log-json", "DP_LOG_JSON", "logging.logJSON", "`log.format`"),
    Row(
        "proxy-node-name",
        "DP_PROXY_NODE_NAME",
        "proxy.nodeName",
        "`proxies[].node`",
        PER_PROXY,
    ),
    Row(
        "proxy-node-id",
        "DP_PROXY_NODE_ID",
        "proxy.nodeID",
        "`proxies[].node`",
        "by name only",
    ),
    Row(
        "proxy-id",
        "DP_PROXY_ID",
        "proxy.id",
        "`proxies[].id`",
        PER_PROXY,
        commands=OF_ONE_PROXY,
    ),
    Row(
        "proxy-id-path",
        "DP_PROXY_ID_PATH",
        "proxy.idPath",
        "`proxies[].id`",
        commands=OF_ONE_PROXY,
    ),
    Row(
        "proxy-namespace",
        "DP_PROXY_NAMESPACE",
        "proxy.namespace",
        "`proxies[].namespace`",
    ),
    Row(
        "proxy-partition",
        "DP_PROXY_PARTITION",
        "proxy.partition",
        "`proxies[].partition`",
    ),
    Row(
        "service-node-name",
        "DP_SERVICE_NODE_NAME",
        "service.nodeName",
        "`proxies[].node`",
        DEPRECATED,
    ),
    Row(
        "service-node-id",
        "DP_SERVICE_NODE_ID",
        "service.nodeID",
        "`proxies[].node`",
        f"{DEPRECATED}; by name only",
    ),
    Row(
        "proxy-service-id",
        "DP_PROXY_SERVICE_ID",
        "service.serviceID",
        "`proxies[].id`",
        DEPRECATED,
    ),
    Row(
        "proxy-service-id-path",
        "DP_PROXY_SERVICE_ID_PATH",
        "service.serviceIDPath",
        "`proxies[].id`",
        f"{DEPRECATED}; -proxy-id-path",
    ),
    Row(
        "service-namespace",
        "DP_SERVICE_NAMESPACE",
        "service.namespace",
        "`proxies[].namespace`",
        DEPRECATED,
    ),
    Row(
        "service-partition",
        "DP_SERVICE_PARTITION",
        "service.partition",
        "`proxies[].partition`",
        DEPRECATED,
    ),
    _accepted(
        "credential-type",
        "DP_CREDENTIAL_TYPE",
        "consul.credentials.type",
        "`consul.credentials.type`",
    ),
    _accepted(
        "static-token",
        "DP_CREDENTIAL_STATIC_TOKEN",
        "consul.credentials.static.token",
        "`consul.credentials.token`",
        "better `token_file`, which may change: a flag is seen by everybody in `ps`",
    ),
    _accepted(
        "login-auth-method",
        "DP_CREDENTIAL_LOGIN_AUTH_METHOD",
        "consul.credentials.login.authMethod",
        "`consul.credentials.auth_method`",
    ),
    _accepted(
        "login-namespace",
        "DP_CREDENTIAL_LOGIN_NAMESPACE",
        "consul.credentials.login.namespace",
        "`consul.credentials.namespace`",
    ),
    _accepted(
        "login-partition",
        "DP_CREDENTIAL_LOGIN_PARTITION",
        "consul.credentials.login.partition",
        "`consul.credentials.partition`",
    ),
    _accepted(
        "login-datacenter",
        "DP_CREDENTIAL_LOGIN_DATACENTER",
        "consul.credentials.login.datacenter",
        "`consul.credentials.datacenter`",
    ),
    _accepted(
        "login-bearer-token",
        "DP_CREDENTIAL_LOGIN_BEARER_TOKEN",
        "consul.credentials.login.bearerToken",
        "`consul.credentials.bearer_token`",
    ),
    _accepted(
        "login-bearer-token-path",
        "DP_CREDENTIAL_LOGIN_BEARER_TOKEN_PATH",
        "consul.credentials.login.bearerTokenPath",
        "`consul.credentials.bearer_token_file`",
        "read at each login, not once",
    ),
    _accepted(
        "login-meta",
        "DP_CREDENTIAL_LOGIN_META",
        "consul.credentials.login.meta",
        "`consul.credentials.meta`",
        "`key=value`; the variable with 1 to 9 behind it",
    ),
    _switch(
        "tls-disabled",
        "DP_TLS_DISABLED",
        "consul.tls.disabled",
        "`consul.tls.disabled`",
    ),
    _accepted(
        "ca-certs",
        "DP_CA_CERTS",
        "consul.tls.caCertsPath",
        "`consul.tls.ca_certs`",
        "read again when it changes, as are the next two",
    ),
    _accepted("tls-cert", "DP_TLS_CERT", "consul.tls.certFile", "`consul.tls.cert`"),
    _accepted("tls-key", "DP_TLS_KEY", "consul.tls.keyFile", "`consul.tls.key`"),
    _accepted(
        "tls-server-name",
        "DP_TLS_SERVER_NAME",
        "consul.tls.serverName",
        "`consul.tls.server_name`",
        "by default `server.<datacenter>.<domain>`, not the address",
    ),
    _switch(
        "tls-insecure-skip-verify",
        "DP_TLS_INSECURE_SKIP_VERIFY",
        "consul.tls.insecureSkipVerify",
        "`consul.tls.insecure_skip_verify`",
    ),
    Row("xds-bind-addr", "DP_XDS_BIND_ADDR", "xdsServer.bindAddress", note=NO_HOP),
    Row("xds-bind-port", "DP_XDS_BIND_PORT", "xdsServer.bindPort", note=NO_HOP),
    Row(
        "consul-dns-bind-addr",
        "DP_CONSUL_DNS_BIND_ADDR",
        "dnsServer.bindAddress",
        "`dns.enabled`, `dns.vip`",
        note=DNS,
    ),
    Row(
        "consul-dns-bind-port",
        "DP_CONSUL_DNS_BIND_PORT",
        "dnsServer.bindPort",
        "`dns.port`",
        note=DNS,
    ),
    _accepted(
        "envoy-admin-bind-address",
        "DP_ENVOY_ADMIN_BIND_ADDRESS",
        "envoy.adminBindAddress",
        "`envoy.admin`, `proxies[].admin`",
    ),
    _accepted(
        "envoy-admin-bind-port",
        "DP_ENVOY_ADMIN_BIND_PORT",
        "envoy.adminBindPort",
        "`envoy.admin`, `proxies[].admin`",
    ),
    _accepted(
        "envoy-ready-bind-address",
        "DP_ENVOY_READY_BIND_ADDRESS",
        "envoy.readyBindAddress",
        "`envoy.ready`, `proxies[].ready`",
    ),
    _accepted(
        "envoy-ready-bind-port",
        "DP_ENVOY_READY_BIND_PORT",
        "envoy.readyBindPort",
        "`envoy.ready`, `proxies[].ready`",
    ),
    _accepted(
        "envoy-concurrency",
        "DP_ENVOY_CONCURRENCY",
        "envoy.concurrency",
        "`envoy.concurrency`",
        commands=_ENVOY,
    ),
    _accepted(
        "envoy-drain-time-seconds",
        "DP_ENVOY_DRAIN_TIME",
        "envoy.drainTimeSeconds",
        "`envoy.drain_time`",
        commands=_ENVOY,
    ),
    _accepted(
        "envoy-drain-strategy",
        "DP_ENVOY_DRAIN_STRATEGY",
        "envoy.drainStrategy",
        "`envoy.drain_strategy`",
        commands=_ENVOY,
    ),
    _accepted(
        "envoy-executable-path",
        "DP_ENVOY_EXECUTABLE_PATH",
        "envoy.executablePath",
        "`envoy.executable`",
        commands=_ENVOY,
    ),
    _switch(
        "shutdown-drain-listeners",
        "DP_SHUTDOWN_DRAIN_LISTENERS",
        "envoy.shutdownDrainListenersEnabled",
        "`envoy.shutdown_drain_listeners`",
        commands=_STOP,
    ),
    _accepted(
        "shutdown-grace-period-seconds",
        "DP_SHUTDOWN_GRACE_PERIOD_SECONDS",
        "envoy.shutdownGracePeriodSeconds",
        "`envoy.shutdown_grace_period`",
        commands=_STOP,
    ),
    Row(
        "graceful-shutdown-path",
        "DP_GRACEFUL_SHUTDOWN_PATH",
        "envoy.gracefulShutdownPath",
        "`stop --proxy ID`",
        f"{NO_PROCESS} this in a preStop hook or as ExecStop",
    ),
    Row(
        "graceful-startup-path",
        "DP_GRACEFUL_STARTUP_PATH",
        "envoy.gracefulStartupPath",
        "`wait --proxy ID`",
        "or `GET /v1/proxies/ID?wait=connected` of the local endpoint",
    ),
    Row(
        "graceful-addr",
        "DP_GRACEFUL_ADDR",
        "envoy.gracefulAddr",
        "`api.listen`, `api.socket`",
        "where the local endpoint is; it starts and stops no Envoy",
    ),
    Row(
        "graceful-port",
        "DP_GRACEFUL_PORT",
        "envoy.gracefulPort",
        "`api.listen`",
        "see -graceful-addr",
    ),
    Row(
        "startup-grace-period-seconds",
        "DP_STARTUP_GRACE_PERIOD_SECONDS",
        "envoy.startupGracePeriodSeconds",
        "`wait --timeout`, `envoy.wait`",
        "in the end it says no, instead of always yes",
    ),
    _switch(
        "dump-envoy-config-on-exit",
        "DP_DUMP_ENVOY_CONFIG_ON_EXIT",
        "envoy.dumpEnvoyConfigOnExitEnabled",
        "`envoy.dump_config_on_exit`",
        "to the standard output of `stop`",
        commands=_STOP,
    ),
    _switch(
        "telemetry-use-central-config",
        "DP_TELEMETRY_USE_CENTRAL_CONFIG",
        "telemetry.useCentralConfig",
        "`telemetry.use_central_config`",
    ),
    Row(
        "telemetry-prom-retention-time",
        "DP_TELEMETRY_PROM_RETENTION_TIME",
        "telemetry.prometheus.retentionTime",
        note="our own metrics are gone with what they are of",
    ),
    _accepted(
        "telemetry-prom-ca-certs-path",
        "DP_TELEMETRY_PROM_CA_CERTS_PATH",
        "telemetry.prometheus.caCertsPath",
        "`telemetry.prometheus.ca_certs`",
        "a file; there a directory is taken, and nothing verified by it",
    ),
    _accepted(
        "telemetry-prom-cert-file",
        "DP_TELEMETRY_PROM_CERT_FILE",
        "telemetry.prometheus.certFile",
        "`telemetry.prometheus.cert`",
    ),
    _accepted(
        "telemetry-prom-key-file",
        "DP_TELEMETRY_PROM_KEY_FILE",
        "telemetry.prometheus.keyFile",
        "`telemetry.prometheus.key`",
    ),
    Row(
        "telemetry-prom-service-metrics-url",
        "DP_TELEMETRY_PROM_SERVICE_METRICS_URL",
        "telemetry.prometheus.serviceMetricsURL",
        note=NO_MERGE,
    ),
    _accepted(
        "telemetry-prom-scrape-path",
        "DP_TELEMETRY_PROM_SCRAPE_PATH",
        "telemetry.prometheus.scrapePath",
        "`telemetry.prometheus.scrape_path`",
    ),
    Row(
        "telemetry-prom-merge-port",
        "DP_TELEMETRY_PROM_MERGE_PORT",
        "telemetry.prometheus.mergePort",
        "`telemetry.prometheus.backend_port`",
        NO_MERGE,
    ),
)
