"""Which capabilities are kept, and which are missed."""

import pytest

from consul_ebpf.kernel import privileges
from consul_ebpf.model.errors import PrivilegeError


def test_pods_volumes_need_what_files_of_other_users_need() -> None:
    """They are kept, with the reason; other hosts keep none of them."""
    kept = privileges.to_keep(None, (), 0, volumes=True)
    assert {"chown", "dac_override", "fowner"} == kept.keys()
    assert {"to write files into pods' volumes"} == set(kept.values())
    assert not privileges.to_keep(None, (), 0)
    privileges.check_volumes(kept)
    with pytest.raises(PrivilegeError, match=r"needs CAP_DAC_OVERRIDE, CAP_FOWNER for"):
        privileges.check_volumes({"chown"})


def test_the_bootstraps_owner_stays_the_reason() -> None:
    """It is the one that somebody configured."""
    kept = privileges.to_keep((7, 7), (), 0, volumes=True)
    assert "bootstrap.owner is uid 7" == kept["chown"]
