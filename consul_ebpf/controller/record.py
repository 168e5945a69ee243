"""What became of a proxy, and what its files were made from. Pure."""

from dataclasses import dataclass, field

from consul_ebpf.base.tls import TlsMaterial
from consul_ebpf.controller.inputs import Inputs, params_of
from consul_ebpf.controller.outcomes import Served
from consul_ebpf.model.answers import Missing
from consul_ebpf.model.token_keys import token_of
from consul_ebpf.model.values import BootstrapParams, PlacedProxy


@dataclass(frozen=True, slots=True, kw_only=True)
class Record(Served):
    """The outcome of a proxy, and what its files were made from besides.

    It is one object, for there may be 65,536 of them.
    """

    given: str | Missing = field(repr=False)
    """Its token, or why there was none; `token` is what its file holds."""
    tls: TlsMaterial | None = field(repr=False)
    params: BootstrapParams | Missing | None = field(repr=False)

    def is_of(self, placed: PlacedProxy, inputs: Inputs) -> bool:
        """Whether it would be the same with these."""
        return (
            self.complete
            and self.given == token_of(placed.proxy, inputs.tokens)
            and self.tls == inputs.tls
            and self._is_rendered_from(placed, inputs)
        )

    def has_bootstrap_of(self, placed: PlacedProxy, inputs: Inputs) -> bool:
        """Whether the bootstrap on disk would be the same with these.

        It names the files of the token and of the certificates, not what is in them.
        """
        return (
            self.complete
            and self.bootstrap
            and not self.troubles
            and not isinstance(self.given, Missing)
            and not isinstance(token_of(placed.proxy, inputs.tokens), Missing)
            and self._is_rendered_from(placed, inputs)
        )

    def _is_rendered_from(self, placed: PlacedProxy, inputs: Inputs) -> bool:
        known, params = self.placed, params_of(placed.proxy, inputs)
        # The same objects are equal: there may be 65,536 of them to compare.
        return (known is placed or known == placed) and (
            self.params is params or self.params == params
        )
