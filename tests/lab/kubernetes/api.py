"""What tests ask the API server, and what they wait for."""

import http.client
import json
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from typing import Any
from urllib.parse import urlencode, urlsplit

from tests.lab.http_request import StatusError
from tests.lab.processes import LabError, wait_until

Object = dict[str, Any]

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"


class Api:
    """An API server, asked as the holder of a token."""

    def __init__(self, url: str, ca: str, token: str) -> None:
        """Nothing is asked yet."""
        where = urlsplit(url)
        self._address = (where.hostname or "", where.port)
        self._token = token
        self._trust = ssl.create_default_context(cadata=ca)

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content_type: str = JSON,
        timeout: float = 10.0,
    ) -> Any:
        """Send one request and decode the answer.

        Raises:
            StatusError: the answer was no success.
            OSError: there was none.
        """
        with closing(self._open(method, path, body, content_type, timeout)) as answer:
            text = answer.read().decode()
        if answer.status >= 300:
            raise StatusError(f"{method} {path}: {answer.status} {text}")
        return json.loads(text) if text.startswith(("{", "[")) else text

    def watch(self, path: str, **query: str) -> Iterator[tuple[str, Object]]:
        """Yield what happens to a collection's objects, `ADDED` first for each.

        Ends when the API server ends it; a look that lasts raises TimeoutError.
        """
        where = f"{path}?{urlencode({'watch': 'true', **query})}"
        with closing(self._open("GET", where, None, JSON, 30.0)) as answer:
            for line in answer:
                event = json.loads(line)
                yield event["type"], event["object"]

    def find(self, path: str) -> Object | None:
        """Return an object, None where there is none."""
        try:
            found = self.call("GET", path)
        except StatusError as error:
            if ": 404 " in str(error):
                return None
            raise
        assert isinstance(found, dict)
        return found

    def list(self, path: str) -> list[Object]:
        """Return the objects of a collection."""
        return list(self.call("GET", path)["items"])

    def create(self, collection: str, body: Mapping[str, Any]) -> Object:
        """Make an object, and return it as the API server has it."""
        made = self.call("POST", collection, body)
        assert isinstance(made, dict)
        return made

    def delete(self, path: str, grace: int | None = None) -> None:
        """Have an object deleted, if there is one."""
        body = {} if grace is None else {"gracePeriodSeconds": grace}
        if self.find(path):
            self.call("DELETE", path, body)

    def _open(
        self, method: str, path: str, body: Any, content_type: str, timeout: float
    ) -> http.client.HTTPResponse:
        connection = http.client.HTTPSConnection(
            *self._address, context=self._trust, timeout=timeout
        )
        data = None if body is None else json.dumps(body)
        headers = {
            "Authorization": f"Bearer {self._token}",
            "Content-Type": content_type,
            "Connection": "close",
        }
        try:
            connection.request(method, path, data, headers)
            return connection.getresponse()
        except http.client.HTTPException as error:
            connection.close()
            raise ConnectionError(f"{method} {path}: {error!r}") from error


class Pods:
    """The pods of a cluster."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def path(self, name: str = "", namespace: str = "default") -> str:
        """Return where a pod is, or all of a namespace."""
        below = f"/{name}" if name else ""
        return f"/api/v1/namespaces/{namespace}/pods{below}"

    def create(self, pod: Mapping[str, Any]) -> Object:
        """Make a pod; return it as it was admitted."""
        namespace = pod["metadata"].get("namespace", "default")
        return self._api.create(self.path(namespace=namespace), pod)

    def get(self, name: str, namespace: str = "default") -> Object | None:
        """Return a pod, None where there is none."""
        return self._api.find(self.path(name, namespace))

    def delete(
        self, name: str, namespace: str = "default", grace: int | None = None
    ) -> None:
        """Have a pod deleted."""
        self._api.delete(self.path(name, namespace), grace)

    def wait_ready(
        self, name: str, namespace: str = "default", timeout: float = 30.0
    ) -> Object:
        """Wait until all containers of a pod are ready.

        Raises:
            LabError: not within `timeout` seconds; says what the pod's state is.
        """
        return self._wait(name, namespace, ready, "ready", timeout)

    def wait_gone(
        self, name: str, namespace: str = "default", timeout: float = 60.0
    ) -> None:
        """Wait until a pod is no more."""
        gone = f"the end of pod {namespace}/{name}"
        wait_until(lambda: self.get(name, namespace) is None, gone, timeout)

    def events(self, name: str, namespace: str = "default") -> list[str]:
        """Return what was said of a pod: `reason: message`."""
        query = urlencode({"fieldSelector": f"involvedObject.name={name}"})
        found = self._api.list(f"/api/v1/namespaces/{namespace}/events?{query}")
        return [f"{each['reason']}: {each['message']}" for each in found]

    def wait_event(
        self, name: str, words: str, namespace: str = "default", timeout: float = 30.0
    ) -> str:
        """Wait for an event that has these words, and return it."""

        def look() -> str | None:
            told = self.events(name, namespace)
            return next((each for each in told if words in each), None)

        return wait_until(look, f"event {words!r} of pod {name}", timeout) or ""

    def logs(self, name: str, container: str, namespace: str = "default") -> str:
        """Return what a container has printed."""
        query = urlencode({"container": container})
        text = self._api.call("GET", f"{self.path(name, namespace)}/log?{query}")
        return text if isinstance(text, str) else json.dumps(text)

    def _wait(
        self,
        name: str,
        namespace: str,
        right: Callable[[Object], bool],
        what: str,
        timeout: float,
    ) -> Object:
        def look() -> Object | None:
            pod = self.get(name, namespace)
            return pod if pod and right(pod) else None

        try:
            pod = wait_until(look, f"pod {namespace}/{name} {what}", timeout)
        except LabError as error:
            state = (self.get(name, namespace) or {}).get("status", "no such pod")
            error.add_note(json.dumps(state, indent=1))
            error.add_note("\n".join(self.events(name, namespace)))
            raise
        assert pod is not None
        return pod


def ready(pod: Object) -> bool:
    """Say whether all of a pod's containers are."""
    conditions = pod["status"].get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def restarts(pod: Object) -> int:
    """Count how often containers of a pod were started again."""
    status = pod["status"]
    kinds = ("initContainerStatuses", "containerStatuses")
    return sum(each["restartCount"] for kind in kinds for each in status.get(kind, []))
