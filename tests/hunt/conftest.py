"""How long to hunt: seconds in CI, `HUNT=long` for minutes. Seeds are printed."""

import os

from hypothesis import HealthCheck, Phase, settings

LONG = os.environ.get("HUNT") == "long"

settings.register_profile(
    "hunt",
    deadline=None,
    max_examples=5000 if LONG else 250,
    stateful_step_count=80 if LONG else 40,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
)
HUNT = settings.get_profile("hunt")
