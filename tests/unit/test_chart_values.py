"""What is made from the chart's values.yaml."""

from tests.lab.chart_values import PAGE, SCHEMA, page, schema, values


def test_the_page_and_the_schema_are_of_the_values() -> None:
    """`python -m tests.lab.chart_values`"""
    assert PAGE.read_text() == page()
    assert SCHEMA.read_text() == schema()


def test_every_value_says_what_it_is() -> None:
    """By the comment above it, in one sentence at least."""
    found = list(values())
    assert [each.name for each in found if not each.meaning.endswith(".")] == []
    assert len({each.name for each in found}) == len(found) > 40
