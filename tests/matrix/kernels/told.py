"""A plugin of pytest's: a failure is printed at once, as a guest may be ended."""

import pytest


@pytest.hookimpl(trylast=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Print the end of what went wrong."""
    if report.failed:
        print(
            f"\n{report.nodeid}\n" + "\n".join(report.longreprtext.splitlines()[-30:])
        )
