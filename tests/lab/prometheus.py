"""A real Prometheus that scrapes controllers, with the rules of deploy/prometheus."""

import json
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import yaml

from tests.lab.held import Held
from tests.lab.http_request import request
from tests.lab.processes import Child, LabError, wait_until
from tests.lab.promtool import find_program
from tests.lab.scratch import scratch_directory

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus" / "consul-ebpf.rules.yml"
DASHBOARD = ROOT / "deploy" / "grafana" / "consul-ebpf.json"

JOB = "consul-ebpf"
"""The scrape job's name, which the rules ask for."""


@dataclass(frozen=True)
class Query:
    """One query of a panel."""

    panel: str
    unit: str
    expression: str
    legend: str

    def name(self, labels: Mapping[str, str]) -> str:
        """Return what the legend calls a series."""
        text = self.legend
        for label, value in labels.items():
            text = text.replace(f"{{{{{label}}}}}", value)
        return re.sub(r"{{\w+}}", "the host", text)  # a label that is empty


def queries() -> list[Query]:
    """Return what the dashboard asks, of all instances."""
    return [
        Query(
            panel["title"],
            panel["fieldConfig"]["defaults"]["unit"],
            target["expr"].replace("$instance", ".*"),
            target["legendFormat"],
        )
        for panel in json.loads(DASHBOARD.read_text())["panels"]
        for target in panel["targets"]
    ]


class Prometheus(Held):
    """Runs until it is left. It looks every second, and its rules wait no longer."""

    def __init__(self, address: str, targets: Sequence[str]) -> None:
        """Prepare.

        Args:
            address: `address:port` to listen on.
            targets: `address:port` of controllers' endpoints.
        """
        self._address = address
        self._targets = list(targets)

    def hold(self, stack: ExitStack) -> None:
        """Start it, and wait until it answers."""
        directory = stack.enter_context(scratch_directory())
        rules = yaml.safe_load(RULES.read_text())
        for rule in rules["groups"][0]["rules"]:
            rule["for"] = "1s"
        (directory / "rules.yml").write_text(yaml.safe_dump(rules))
        scraped = {"job_name": JOB, "static_configs": [{"targets": self._targets}]}
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(directory / "rules.yml")],
            "scrape_configs": [scraped],
        }
        file = directory / "prometheus.yml"
        file.write_text(yaml.safe_dump(config))
        argv = [
            str(find_program("prometheus")),
            f"--config.file={file}",
            f"--storage.tsdb.path={directory / 'data'}",
            f"--web.listen-address={self._address}",
        ]
        self._child = Child("prometheus", argv, directory)
        stack.callback(self._child.kill)
        wait_until(lambda: self.ask("query", query="up"), "Prometheus answers")

    def ask(self, path: str, **parameters: Any) -> Any:
        """Ask its HTTP API; return `data` of the answer.

        Raises:
            OSError: it refuses the question, or does not answer.
        """
        self._child.must_run()
        url = f"http://{self._address}/api/v1/{path}"
        answer = request("GET", f"{url}?{urlencode(parameters)}", timeout=10)
        return json.loads(answer)["data"]

    def series(self, expression: str) -> list[dict[str, str]]:
        """Return the labels of a query's series now."""
        found = self.ask("query", query=expression)["result"]
        return [each["metric"] for each in found]

    def history(self, expression: str, seconds: float) -> list[dict[str, Any]]:
        """Return a query's series of the last seconds: `metric` and `values`."""
        end = time.time()
        asked = {"query": expression, "start": end - seconds, "end": end, "step": 2}
        found: list[dict[str, Any]] = self.ask("query_range", **asked)["result"]
        return found

    def firing(self) -> dict[str, str]:
        """Return the summaries of the alerts that fire, by name."""
        return {
            each["labels"]["alertname"]: each["annotations"]["summary"]
            for each in self.ask("alerts")["alerts"]
            if each["state"] == "firing"
        }

    def wait_firing(self, names: Iterable[str], timeout: float = 60.0) -> None:
        """Wait until each of these alerts has fired."""
        lacking = set(names)

        def all_fired() -> bool:
            lacking.difference_update(self.firing())
            return not lacking

        try:
            wait_until(all_fired, "alerts", timeout)
        except LabError as error:
            raise LabError(f"{error}: {lacking} did not fire") from None
