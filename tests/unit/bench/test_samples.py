"""Samples are taken in turns and compared round by round."""

from tests.bench.samples import alternate, figure, rows, spread


def test_each_round_begins_with_another_case() -> None:
    order: list[str] = []

    def case(name: str) -> float:
        order.append(name)
        return float(len(order))

    found = alternate({"a": lambda: case("a"), "b": lambda: case("b")}, 2)
    assert order == ["a", "b", "b", "a"]
    assert found == {"a": [1.0, 4.0], "b": [2.0, 3.0]}


def test_a_ratio_is_of_the_same_round() -> None:
    """The machine became three times slower: the ratio stays."""
    ratio = figure([2.0, 6.0, 2.0], [1.0, 3.0, 1.0]).ratio
    assert ratio is not None
    assert (ratio.median, ratio.low, ratio.high) == (2.0, 2.0, 2.0)


def test_what_has_no_rounds_is_compared_with_the_median() -> None:
    ratio = figure([4.0, 8.0], [1.0, 2.0, 3.0]).ratio
    assert ratio is not None
    assert ratio.median == 3.0


def test_one_sample_is_its_own_spread() -> None:
    assert (spread([5.0]).low, spread([5.0]).high) == (5.0, 5.0)


def test_the_base_has_no_ratio_and_a_row_may_lack_a_column() -> None:
    base, ours = rows(
        {"x": {"base": [1.0], "ours": [2.0]}, "y": {"ours": [3.0]}}, "base"
    )
    assert base.figures["x"].ratio is None
    assert "y" not in base.figures
    assert ours.figures["x"].ratio is not None
    assert ours.figures["y"].ratio is None
