from tests.benchmarks.process import ROOT
from tests.benchmarks.report import sources, table
from tests.benchmarks.results import LAST, read_results
from tests.benchmarks.table import MEASUREMENTS


def test_last_table_is_of_measurements_that_there_are() -> None:
    lines = {measurement.name: {line.figure for line in measurement.lines} for measurement in MEASUREMENTS}
    for result in read_results(LAST):
        assert lines[result.name] & result.figures.keys(), result.name


def test_document_holds_the_last_table_and_where_it_is_from() -> None:
    """`python -m tests.benchmarks --last` prints what belongs there."""
    last, text = read_results(LAST), (ROOT / "docs/benchmarks.md").read_text()
    assert table(last, MEASUREMENTS) in text
    assert sources(last) in text
