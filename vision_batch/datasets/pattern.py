"""Globs with braces, as regular expressions over whole URIs.

*            any characters but a slash
?            one character but a slash
[ab] [!a-z]  one of these, none of these; `[*]`, `[?]`, `[[]` and `[{]` stand for the characters themselves
**           as a whole segment: any number of folders, also none
{a,b}        either; patterns may stand inside
{0000..0099} every number of the range; as many digits as the longer end has, if an end begins with a zero
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from vision_batch.errors import Problem, SpecError

SPECIAL = re.compile(r"[*?\[]|\{(?=.*(?:,|\.\.).*\})", re.DOTALL)
RANGE = re.compile(r"(\d+)\.\.(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """A parsed glob. `root` is the deepest folder without special characters; everything that matches is below it."""

    root: str
    regex: re.Pattern[str]


def is_pattern(uri: str) -> bool:
    """Whether `uri` has special characters; a brace is one if a comma or a range follows in it."""
    return SPECIAL.search(uri) is not None


def parse(uri: str) -> Pattern:
    """The pattern of `uri`; SpecError for one in the name of a bucket, or with an open bracket."""
    special = SPECIAL.search(uri)
    literal = uri[: special.start()] if special else uri
    root = literal.rpartition("/")[0]
    if root in ("s3:", "s3:/"):
        raise SpecError(Problem(uri, "a pattern in the bucket's name", "a list of inputs, one for each bucket"))
    try:
        regex = re.compile(_translate(uri), re.DOTALL)
    except (re.error, IndexError) as error:
        raise SpecError(
            Problem(uri, f"a pattern that cannot be read ({error})", "closed brackets and braces")
        ) from None
    return Pattern(root=root or "/", regex=regex)


def _translate(glob: str) -> str:
    out: list[str] = []
    at = 0
    while at < len(glob):
        text, at = _token(glob, at)
        out.append(text)
    return "".join(out)


def _token(glob: str, at: int) -> tuple[str, int]:
    """The regular expression of the token that begins at `at`, and where the next one begins."""
    segment_start = at == 0 or glob[at - 1] == "/"
    if segment_start and glob.startswith("**/", at):
        return "(?:[^/]+/)*", at + 3
    if segment_start and glob[at:] == "**":
        return ".+", at + 2
    if glob[at] == "*":
        return "[^/]*", at + 1
    if glob[at] == "?":
        return "[^/]", at + 1
    if glob[at] == "[":
        return _characters(glob, at)
    if glob[at] == "{" and (end := _closing(glob, at)) > 0:
        return _alternatives(glob[at + 1 : end]), end + 1
    return re.escape(glob[at]), at + 1


def _characters(glob: str, at: int) -> tuple[str, int]:
    negated = glob[at + 1] in "!^"
    start = at + 1 + negated
    end = glob.index("]", start + 1) if "]" in glob[start + 1 :] else -1
    if end < 0:
        raise re.error("a [ without its ]")
    inside = re.sub(r"([\\\[\]^&~|])", r"\\\1", glob[start:end])
    return f"(?!/)[{'^' if negated else ''}{inside}]", end + 1


def _closing(glob: str, at: int) -> int:
    """Where the brace at `at` ends; -1 if it never does."""
    depth = 0
    for index in range(at, len(glob)):
        depth += {"{": 1, "}": -1}.get(glob[index], 0)
        if depth == 0:
            return index
    return -1


def _alternatives(inside: str) -> str:
    if numbers := RANGE.fullmatch(inside):
        return _number_range(numbers[1], numbers[2])
    options = _split(inside)
    if len(options) == 1:
        return re.escape("{") + _translate(inside) + re.escape("}")
    return f"(?:{'|'.join(map(_translate, options))})"


def _split(inside: str) -> list[str]:
    """`inside` at the commas that are in no further brace."""
    options, depth = [""], 0
    for character in inside:
        depth += {"{": 1, "}": -1}.get(character, 0)
        if character == "," and depth == 0:
            options.append("")
        else:
            options[-1] += character
    return options


def _number_range(first: str, last: str) -> str:
    low, high = sorted((int(first), int(last)))
    padded = any(len(end) > 1 and end.startswith("0") for end in (first, last))
    if padded:
        width = max(len(first), len(last))
        return f"(?:{_digits(str(low).zfill(width), str(high).zfill(width))})"
    lengths = range(len(str(low)), len(str(high)) + 1)
    spans = [(max(low, 10 ** (n - 1) if n > 1 else 0), min(high, 10**n - 1)) for n in lengths]
    return f"(?:{'|'.join(_digits(str(a), str(b)) for a, b in spans)})"


def _digits(low: str, high: str) -> str:
    """Exactly the numbers from `low` to `high`, which have equally many digits."""
    if low == high:
        return low
    if set(low) == {"0"} and set(high) == {"9"}:
        return f"[0-9]{{{len(low)}}}"
    if low[0] == high[0]:
        return low[0] + _digits(low[1:], high[1:])
    rest = len(low) - 1
    options = [low[0] + _digits(low[1:], "9" * rest) if rest else low[0]]
    if int(high[0]) - int(low[0]) > 1:
        options.append(f"[{int(low[0]) + 1}-{int(high[0]) - 1}][0-9]{{{rest}}}")
    options.append(high[0] + _digits("0" * rest, high[1:]) if rest else high[0])
    return f"(?:{'|'.join(options)})"
