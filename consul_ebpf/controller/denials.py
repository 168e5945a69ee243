"""Says of each proxy whose ACL token the servers refuse what that means. Pure."""

from collections.abc import Mapping
from dataclasses import replace

from consul_ebpf.base.lines import one_line
from consul_ebpf.controller.outcomes import Outcome, Served, Trouble
from consul_ebpf.model.answers import Missing
from consul_ebpf.model.values import Credentials, Proxy
from consul_ebpf.proxies.params import Denied

MEANS = (
    "its Envoy goes on with what it has and gets no changes; one that starts gets"
    " nothing"
)

LOGS_IN = "nothing: it logs in again; if this stays, the log says why"


def with_denials(
    outcomes: Mapping[str, Outcome], denied: Denied
) -> Mapping[str, Outcome]:
    """Return the outcomes with a trouble for each proxy whose token is refused."""
    if not denied:
        return outcomes
    told = dict(outcomes)
    for key, why in denied.items():
        outcome = told.get(key)
        if isinstance(outcome, Served) and not isinstance(why, Missing):
            told[key] = replace(outcome, denied=_trouble(outcome.placed.proxy, why))
    return told


def _trouble(proxy: Proxy, why: str) -> Trouble:
    how = proxy.credentials
    logs_in = how is not None and how.login is not None
    cause = f"the ACL token {_whose(how)} {why}"
    do = LOGS_IN if logs_in else f"put a valid token {_where(how)} (docs/tokens.md)"
    return Trouble(cause, fleeting=logs_in, means=MEANS, do=do)


def _whose(how: Credentials | None) -> str:
    if how is None:
        return "of consul.credentials"
    if how.login is not None:
        return f"of its login at {one_line(how.login.auth_method)}"
    return f"in {one_line(how.token_file)}" if how.token_file else "of its credentials"


def _where(how: Credentials | None) -> str:
    if how is not None and how.token_file:
        return "there, it is taken up within seconds"
    of = "consul.credentials" if how is None else "its credentials"
    return f"into {of}; a token_file's is taken up at once, another at a restart"
