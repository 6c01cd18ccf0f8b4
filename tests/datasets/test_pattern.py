"""Globs with braces."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vision_batch.datasets.pattern import is_pattern, parse
from vision_batch.errors import SpecError


@pytest.mark.parametrize(
    ("glob", "matching", "others"),
    [
        ("/d/*.tar", ["/d/a.tar", "/d/.tar", "/d/a b.tar"], ["/d/e/a.tar", "/d/a.tar.gz", "/e/a.tar"]),
        ("/d/?.tar", ["/d/a.tar", "/d/ü.tar"], ["/d/ab.tar", "/d//.tar", "/d/.tar"]),
        ("/d/[ab]*.tar", ["/d/a1.tar"], ["/d/c1.tar"]),
        ("/d/[!a-c].tar", ["/d/d.tar"], ["/d/b.tar", "/d//.tar"]),
        ("/d/[]x].tar", ["/d/].tar", "/d/x.tar"], ["/d/y.tar"]),
        ("/d/[*].tar", ["/d/*.tar"], ["/d/a.tar"]),
        ("/d/[[]x].tar", ["/d/[x].tar"], ["/d/x.tar"]),
        ("/d/**/*.tar", ["/d/a.tar", "/d/e/a.tar", "/d/e/f/a.tar"], ["/e/a.tar", "/da.tar"]),
        ("/d/**", ["/d/a", "/d/e/f"], ["/d", "/d/"]),
        ("/d/**/x/*.tar", ["/d/x/a.tar", "/d/e/x/a.tar"], ["/d/ex/a.tar"]),
        ("/d/a**.tar", ["/d/ab.tar"], ["/d/a/b.tar"]),
        ("/d/{train,val}/*.tar", ["/d/train/a.tar", "/d/val/a.tar"], ["/d/test/a.tar"]),
        ("/d/{a,b/{c,d*}}.tar", ["/d/a.tar", "/d/b/c.tar", "/d/b/dx.tar"], ["/d/b.tar"]),
        ("/d/{,x}a.tar", ["/d/a.tar", "/d/xa.tar"], ["/d/ya.tar"]),
        ("/d/{x}*", ["/d/{x}y"], ["/d/xy"]),
        ("/d/a{0000..0010}.tar", ["/d/a0000.tar", "/d/a0010.tar"], ["/d/a0.tar", "/d/a0011.tar", "/d/a00010.tar"]),
        ("/d/{1..9}{1..10}*", ["/d/15", "/d/110x"], ["/d/01", "/d/1"]),
        ("s3://b/d/*.tar", ["s3://b/d/a.tar"], ["s3://b/d/e/a.tar"]),
        ("/d/a.b+(c)*", ["/d/a.b+(c)"], ["/d/axb+(c)"]),
    ],
)
def test_what_a_pattern_matches(glob: str, matching: list[str], others: list[str]) -> None:
    regex = parse(glob).regex
    assert [uri for uri in [*matching, *others] if regex.fullmatch(uri)] == matching


@pytest.mark.parametrize(
    ("glob", "root"),
    [
        ("/d/e/*.tar", "/d/e"),
        ("/d/e*/x.tar", "/d"),
        ("/*.tar", "/"),
        ("/**/x.tar", "/"),
        ("/d/{a/b,c}/*.tar", "/d"),
        ("/d/{x/{a,b},z}/*.tar", "/d"),
        ("s3://bucket/*.tar", "s3://bucket"),
        ("s3://bucket/d/e-{00..99}.tar", "s3://bucket/d"),
    ],
)
def test_the_root_is_the_deepest_folder_without_special_characters(glob: str, root: str) -> None:
    assert parse(glob).root == root


@pytest.mark.parametrize("uri", ["/d/a.tar", "/d/{abc}.tar", "/d/a}b", "/d/ü ö.tar", "s3://b/k"])
def test_plain_names_are_no_patterns(uri: str) -> None:
    assert not is_pattern(uri)


@pytest.mark.parametrize("uri", ["/d/*", "/d/a?", "/d/[x]", "/d/{a,b}", "/d/{0..9}"])
def test_special_characters_make_a_pattern(uri: str) -> None:
    assert is_pattern(uri)


@pytest.mark.parametrize("glob", ["s3://*/a.tar", "s3://{a,b}/x.tar", "/d/[abc", "/d/[", "/d/[z-a]"])
def test_what_cannot_be_a_pattern_is_a_spec_error(glob: str) -> None:
    with pytest.raises(SpecError):
        parse(glob)


@settings(max_examples=200)
@given(low=st.integers(0, 1200), high=st.integers(0, 1200), number=st.integers(0, 1300))
def test_ranges_hold_exactly_their_numbers(low: int, high: int, number: int) -> None:
    inside = min(low, high) <= number <= max(low, high)
    assert (parse(f"/{{{low}..{high}}}*").regex.fullmatch(f"/{number}") is not None) >= inside
    assert (parse(f"/{{{low}..{high}}}").regex.fullmatch(f"/{number}") is not None) == inside
    padded = parse(f"/{{{low:05}..{high}}}").regex
    assert (padded.fullmatch(f"/{number:05}") is not None) == inside
