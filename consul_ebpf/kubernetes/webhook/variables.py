"""A container's environment, as far as it is known before the pod runs. Pure."""

import re
from collections.abc import Iterable, Mapping

from consul_ebpf.kubernetes.attributes import DOWNWARD
from consul_ebpf.kubernetes.webhook.pod import Variable

POD_IP = "$(status.podIP)"
"""Stands for the pod's address, which nobody knows before the pod's sandbox is made."""

Known = Mapping[str, str | None]
"""Values by name; a field of the pod is `$(its.path)`, as in a volume's attributes.

None: the value comes from where we do not look, such as a Secret.
"""

MAX_LENGTH = 32768
"""Characters of a value with others put in. Ten variables that each name the one before
twice would have a thousand times its length."""

_REFERENCE = re.compile(r"\$(?:\$|\(([^)]*)\))")
_FIELDS = {path: f"$({path})" for path in DOWNWARD} | {
    "status.podIP": POD_IP,
    "status.podIPs": POD_IP,
}


def known(variables: Iterable[Variable]) -> dict[str, str | None]:
    """Resolve a container's variables in their order, as kubelet does."""
    values: dict[str, str | None] = {}
    for each in variables:
        source = each.value_from
        if source is None:
            values[each.name] = expanded(each.value or "", values)
        elif source.field_ref is None:
            values[each.name] = None
        else:
            values[each.name] = _FIELDS.get(source.field_ref.field_path)
    return values


def expanded(text: str, values: Known) -> str | None:
    """Put the variables' values in for `$(NAME)`; `$$` is a dollar, as in Kubernetes.

    A name that is not there stays as it is. None: one of the values is not known, or
    the text is too long.
    """
    found = [values.get(name, name) for name in _REFERENCE.findall(text) if name]
    # Before it is put together: each of the values may be as long as the limit.
    if None in found or len(text) + sum(map(len, filter(None, found))) > MAX_LENGTH:
        return None

    def put(match: re.Match[str]) -> str:
        name = match[1]
        if name is None:
            return "$"
        value = values.get(name)
        return match[0] if value is None else value

    return _REFERENCE.sub(put, text)


def left_over(text: str) -> str:
    """Return the first `$(…)` in it that is no field of the pod; empty: there is none.

    Kubelet may know such a name: those of the namespace's Services are variables, too.
    """
    names = (found[0] for found in _REFERENCE.finditer(text) if found[1] is not None)
    return next((name for name in names if name not in _FIELDS.values()), "")
