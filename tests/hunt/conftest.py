"""How long to hunt: seconds in a usual run, minutes in a long one. Seeds are shown."""

from hypothesis import HealthCheck, Phase, settings

from tests.lab.long import LONG

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
