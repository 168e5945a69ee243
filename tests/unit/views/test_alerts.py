"""The alerts of deploy/prometheus: what they ask for is there, and they wake for it."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from consul_ebpf.views.metrics.names import METRICS, scraped
from tests.lab.promtool import find_program

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "deploy" / "prometheus"
RULES = FOLDER / "consul-ebpf.rules.yml"
TESTS = FOLDER / "consul-ebpf.test.yml"


def rules() -> dict[str, dict[str, Any]]:
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule for rule in group["rules"]}


def test_every_name_and_label_of_an_alert_exists() -> None:
    """Of the metrics, and what a scrape adds."""
    known = {name: set(each.labels) for each in METRICS for name in scraped(each)}
    known["up"] = {"job"}
    words = {"by", "on", "and", "or", "sum", "max", "count", "increase", "m"}
    words |= {"avg_over_time"}
    for alert, rule in rules().items():
        expression = rule["expr"]
        names = set(re.findall(r"\b(?:consul_\w+|up)\b", expression))
        assert names, alert
        assert names <= known.keys(), alert
        labels = set().union(*(known[name] for name in names)) | {"instance", "job"}
        bare = re.sub(r'"[^"]*"', "", expression)
        used = set(re.findall(r"[a-z_]+", bare)) - names - words
        assert used <= labels, alert


def test_every_alert_has_a_severity_a_summary_and_its_line_in_the_runbook() -> None:
    """And the runbook names no other; it says page or ticket as the rule does."""
    page = (ROOT / "docs" / "faults.md").read_text()
    lines = dict(
        re.findall(r"^\| `(ConsulEbpf\w+)` \| (page|ticket): ", page, re.MULTILINE)
    )
    assert lines == {name: rule["labels"]["severity"] for name, rule in rules().items()}
    assert all(rule["annotations"]["summary"] for rule in rules().values())


def test_every_alert_has_a_test() -> None:
    """One in which it wakes somebody."""
    woken = {
        each["alertname"]
        for test in yaml.safe_load(TESTS.read_text())["tests"]
        for each in test.get("alert_rule_test", [])
        if each["exp_alerts"]
    }
    assert woken == rules().keys()


@pytest.mark.promtool
def test_the_alerts_wake_for_what_they_say() -> None:
    """And for nothing on a host that is well: Prometheus' own promtool runs it."""
    done = subprocess.run(
        [str(find_program("promtool")), "test", "rules", str(TESTS)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
