"""The graph of an exported program, as JSON in which no text can be code.

Every string in it is either one of the few that have a grammar of their own, checked here (targets, size expressions,
container specs, names), or made of characters that cannot be more than a name.
"""

from __future__ import annotations

import ast
import json
import keyword
import re
from collections.abc import Callable
from typing import Any

from vision_batch.errors import ModelError

PLAIN = re.compile(r"[\w.,:+<>\- ]*", re.ASCII)
TARGET = re.compile(
    r"torch\.ops\.(aten|prims)\.[A-Za-z_]\w*\.[A-Za-z_]\w*"
    r"|torch\.ops\.higher_order\.(cond|wrap_with_autocast|wrap_with_set_grad_enabled)"
    r"|torch\.sym_(float|int|ite|max|min|not|sqrt|sum)"
    r"|math\.(ceil|floor|trunc|sqrt|pow)"
    r"|_operator\.(add|and_|eq|floordiv|ge|getitem|gt|le|lt|mod|mul|ne|neg|not_|or_|pos|pow|sub|truediv)",
    re.ASCII,
)
FILE_OPERATORS = re.compile(r"torch\.ops\.aten\.(from_file|save|_print|warn)\..*")
CONTAINERS = {None, "builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict"}
SYMPY_CALLS = {
    *("Symbol", "Integer", "Float", "Rational", "Add", "Mul", "Pow", "Max", "Min", "Mod", "Abs", "floor", "ceiling"),
    *("Equality", "Eq", "Unequality", "Ne", "StrictLessThan", "Lt", "LessThan", "Le"),
    *("StrictGreaterThan", "Gt", "GreaterThan", "Ge", "And", "Or", "Not", "Piecewise", "Where", "Identity"),
    *("FloorDiv", "CeilDiv", "CleanDiv", "PythonMod", "ModularIndexing", "CeilToInt", "FloorToInt", "TruncToInt"),
    *("TruncToFloat", "RoundToInt", "RoundDecimal", "ToFloat", "IntTrueDiv", "FloatTrueDiv", "PowByNatural"),
    *("FloatPow", "LShift", "RShift", "IsNonOverlappingAndDenseIndicator"),
}
ARITHMETIC = (ast.Expression, ast.BinOp, ast.UnaryOp, ast.Compare, ast.operator, ast.unaryop, ast.cmpop, ast.Load)
EXPRESSION_CHARS = 2000
Special = Callable[[str, Any], Any]


def checked_graph(content: bytes, name: str, member: str) -> bytes:
    """The same JSON, written anew without comments for people (`metadata`) and without code for checks (`guards_code`).

    ModelError, calling the archive `name`, with the text that is refused.
    """
    return _rewritten(content, name, member, _graph_entry)


def checked_table(content: bytes, name: str, member: str) -> bytes:
    """The same JSON, written anew; ModelError if any text in it could be code."""
    return _rewritten(content, name, member, lambda _, value: None)


def _rewritten(content: bytes, name: str, member: str, special: Special) -> bytes:
    try:
        return json.dumps(_checked(json.loads(content), special)).encode()
    except (ValueError, KeyError, TypeError, SyntaxError, RecursionError) as error:
        raise ModelError(f"{name} is refused: its member {member} {error}") from error


def _checked(value: Any, special: Special) -> Any:
    if isinstance(value, dict):
        return {_plain(key): special(key, item) or _checked(item, special) for key, item in value.items()}
    if isinstance(value, list):
        return [_checked(item, special) for item in value]
    return _plain(value) if isinstance(value, str) else value


def _graph_entry(key: str, value: Any) -> Any:
    """The checked value where `key` has a grammar of its own, None where it has not."""
    if key in DROPPED:
        value.clear()
    elif key in GRAMMARS and isinstance(value, str):
        GRAMMARS[key](value)
        return value
    return None


def _plain(text: str) -> str:
    if not PLAIN.fullmatch(text):
        raise ValueError(f"holds a text that could be code: {_shown(text)}")
    return text


def _check_name(name: str) -> None:
    if name and (
        not name.isidentifier() or (keyword.iskeyword(name) and name not in ("None", "True", "False", "from"))
    ):
        raise ValueError(f"holds a name that could be code: {_shown(name)}")


def _check_target(target: str) -> None:
    if not TARGET.fullmatch(target) or FILE_OPERATORS.fullmatch(target):
        raise ValueError(f"calls {_shown(target)}; only the operators of aten are run")


def _check_container(spec: str) -> None:
    """Source of the format: torch.utils._pytree.treespec_dumps."""
    protocol, root = json.loads(spec)
    nodes = [root]
    while nodes:
        node = nodes.pop()
        if protocol != 1 or node["type"] not in CONTAINERS:
            raise ValueError(
                f"takes or returns {_shown(str(node['type']))}; only tuples, lists and dicts of tensors do"
            )
        if node["context"] is not None:
            _checked(json.loads(node["context"], object_hook=_no_object), lambda _, value: None)
        nodes += node["children_spec"]


def _no_object(value: dict[str, Any]) -> None:
    raise ValueError(f"holds a container's key that is not plain text: {_shown(str(value))}")


def _check_expression(text: str) -> None:
    """A size, as sympy's srepr writes it. sympy.sympify evaluates it as Python, so only arithmetic may be in it."""
    if len(text) > EXPRESSION_CHARS:
        raise ValueError(f"holds an expression of {len(text)} characters")
    for node in ast.walk(ast.parse(text, mode="eval")):
        if not _is_arithmetic(node):
            raise ValueError(f"holds an expression that could be code: {_shown(text)}")


def _is_arithmetic(node: ast.AST) -> bool:
    match node:
        case ast.Call(func=ast.Name(id=called), args=args):
            texts = [arg for arg in args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
            return called in SYMPY_CALLS and (not texts or called in ("Symbol", "Float"))
        case ast.Constant(value=value):
            return isinstance(value, (bool, int, float)) or (isinstance(value, str) and _is_word(value))
        case ast.Name(id=word):
            return not word.startswith("__")
        case ast.keyword(arg=word, value=ast.Constant(value=value)):
            return word is not None and not isinstance(value, str)
        case _:
            return isinstance(node, ARITHMETIC)


def _is_word(text: str) -> bool:
    return re.fullmatch(r"[\w.+\-]*", text, re.ASCII) is not None


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:80] + "…")


DROPPED = frozenset({"metadata", "guards_code"})
GRAMMARS: dict[str, Callable[[str], None]] = {
    "target": _check_target,
    "as_operator": _check_target,
    "expr_str": _check_expression,
    "in_spec": _check_container,
    "out_spec": _check_container,
    "name": _check_name,
    "as_name": _check_name,
}
