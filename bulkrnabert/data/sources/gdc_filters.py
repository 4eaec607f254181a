"""The GDC's filter grammar on nested records, and the projection of fields; used by the stand-in portal."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Callable, Iterable
from typing import Any

from bulkrnabert.errors import DataError

Json = dict[str, Any]
Predicate = Callable[[Json], bool]
Resolve = Callable[[str], str]

MAX_DEPTH = 40


class FilterError(DataError):
    """A filter that the portal answers with 400."""


def values_at(record: object, path: str) -> list[Any]:
    """Every value that a dotted path reaches, across lists; missing and null ones are left out."""
    if path == "":
        if isinstance(record, list):
            return [value for item in record for value in values_at(item, "")]
        return [] if record is None or isinstance(record, dict) else [record]
    if isinstance(record, list):
        return [value for item in record for value in values_at(item, path)]
    if not isinstance(record, dict):
        return []
    key, _, rest = path.partition(".")
    return values_at(record.get(key), rest)


def _has_group(record: object, path: str) -> bool:
    """Whether a dotted path reaches an object, across lists."""
    if isinstance(record, list):
        return any(_has_group(item, path) for item in record)
    if path == "" or not isinstance(record, dict):
        return isinstance(record, dict)
    key, _, rest = path.partition(".")
    return _has_group(record.get(key), rest)


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _matches(value: object, wanted: Iterable[str]) -> bool:
    text = _text(value)
    return any(fnmatch.fnmatchcase(text, one.replace("[", "[[]")) if "*" in one else text == one for one in wanted)


def _as_number(value: object) -> float | None:
    try:
        return float(_text(value))
    except ValueError:
        return None


def _compare(op: str, value: object, limit: object) -> bool:
    left, right = _as_number(value), _as_number(limit)
    order: float
    if left is not None and right is not None:
        order = left - right
    else:
        order = float((_text(value) > _text(limit)) - (_text(value) < _text(limit)))
    return {"<": order < 0, "<=": order <= 0, ">": order > 0, ">=": order >= 0}[op]


def _set_predicate(op: str, path: str, wanted: list[str]) -> Predicate:
    def found(record: Json) -> list[bool]:
        return [_matches(value, wanted) for value in values_at(record, path)]

    if op in ("=", "in"):
        return lambda record: any(found(record))
    if op == "exclude":  # only when every element matches is the record left out
        return lambda record: not (found(record) and all(found(record)))
    return lambda record: not any(found(record))  # != and excludeifany


def read_filter(content: object) -> object:
    """A filter that may be JSON text, as an object.

    Raises:
        FilterError: it is no JSON.
    """
    if not isinstance(content, str):
        return content
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise FilterError(f"filters are no JSON: {error}") from error


def compile_filter(content: object, resolve: Resolve, missing_needs_parent: bool = False) -> Predicate:
    """Turn a filter into a function from a record to whether it is found.

    Args:
        content: A filter object, or its JSON text.
        resolve: From a field of the filter to a path in a record; raises `FilterError` for an unknown field.
        missing_needs_parent: Whether `is MISSING` overlooks records that lack the group that the field belongs to.
    Raises:
        FilterError: the filter does not follow the grammar.
    Source:
        GDC API, release notes 8.5, known issues (`missing_needs_parent`).
    """
    return _compile(read_filter(content), resolve, missing_needs_parent, MAX_DEPTH)


def without_field(content: object, path: str, resolve: Resolve) -> object | None:
    """A filter without its conditions on one path; None when nothing else is left."""
    if not isinstance(content, dict) or not isinstance(content.get("content"), dict | list):
        return content
    inner = content["content"]
    if isinstance(inner, dict):
        field = inner.get("field")
        return None if isinstance(field, str) and resolve(field) == path else content
    parts = [part for part in (without_field(part, path, resolve) for part in inner) if part is not None]
    return {**content, "content": parts} if parts else None


def _compile(node: object, resolve: Resolve, missing_needs_parent: bool, depth: int) -> Predicate:
    if depth == 0:
        raise FilterError(f"filters are nested deeper than {MAX_DEPTH}")
    if not isinstance(node, dict) or "op" not in node or "content" not in node:
        raise FilterError(f"expected {{'op', 'content'}}, found {str(node)[:80]}")
    op, content = node["op"], node["content"]
    if op in ("and", "or"):
        if not isinstance(content, list) or not content:
            raise FilterError(f"'{op}' needs a list of filters")
        parts = [_compile(part, resolve, missing_needs_parent, depth - 1) for part in content]
        combine = all if op == "and" else any
        return lambda record: combine(part(record) for part in parts)
    if not isinstance(content, dict) or not isinstance(content.get("field"), str):
        raise FilterError(f"'{op}' needs content with a field")
    return _compile_leaf(op, resolve(content["field"]), content, missing_needs_parent)


def _compile_leaf(op: object, path: str, content: Json, missing_needs_parent: bool) -> Predicate:
    value = content.get("value")
    if op in ("is", "not"):
        if str(value or "MISSING").upper() != "MISSING":
            raise FilterError(f"'{op}' knows only the value MISSING, found {value!r}")
        parent = path.rpartition(".")[0] if missing_needs_parent else ""
        if op == "not":
            return lambda record: bool(values_at(record, path))
        return lambda record: not values_at(record, path) and _has_group(record, parent)
    if value is None or isinstance(value, dict):
        raise FilterError(f"'{op}' on {content['field']!r} needs a value or a list of values")
    values = value if isinstance(value, list) else [value]
    if op in ("<", "<=", ">", ">="):
        if len(values) != 1:
            raise FilterError(f"'{op}' needs one value, found {len(values)}")
        return lambda record: any(_compare(op, found, values[0]) for found in values_at(record, path))
    if op in ("=", "!=", "in", "exclude", "excludeifany"):
        return _set_predicate(op, path, [_text(one) for one in values])
    raise FilterError(f"unknown operator {op!r}")


def leaf_paths(record: object, prefix: str = "") -> set[str]:
    """Dotted paths of every value of a record that is no object."""
    if isinstance(record, dict):
        return {
            path for key, value in record.items() for path in leaf_paths(value, f"{prefix}.{key}" if prefix else key)
        }
    if isinstance(record, list) and any(isinstance(item, dict) for item in record):
        return {path for item in record for path in leaf_paths(item, prefix)}
    return {prefix}


def project(record: Json, wanted: set[str]) -> Json:
    """The wanted leaves of a record, nesting preserved; `id` is always there. The record is not modified."""
    picked = _pick(record, wanted | {"id"}, "")
    assert isinstance(picked, dict)
    return picked


def _pick(value: object, wanted: set[str], path: str) -> object:
    if path in wanted:
        return value
    if isinstance(value, list):
        return [picked for picked in (_pick(item, wanted, path) for item in value) if picked]
    if not isinstance(value, dict):
        return None
    inside = {}
    for key, item in value.items():
        below = f"{path}.{key}" if path else key
        if below in wanted:
            inside[key] = item
        elif isinstance(item, dict | list) and any(want.startswith(f"{below}.") for want in wanted):
            picked = _pick(item, wanted, below)
            if picked:
                inside[key] = picked
    return inside


def sort_records(records: list[Json], sort: str, resolve: Resolve) -> list[Json]:
    """Records in the order of `field:asc,field:desc,…`; those without a value come last.

    Raises:
        FilterError: an unknown field or direction.
    """
    for part in reversed([part for part in sort.split(",") if part]):
        field, _, direction = part.partition(":")
        if direction not in ("", "asc", "desc"):
            raise FilterError(f"sort direction {direction!r}: expected asc or desc")
        path = resolve(field)
        present = [record for record in records if values_at(record, path)]
        absent = [record for record in records if not values_at(record, path)]
        present.sort(key=_first_value_key(path), reverse=direction == "desc")
        records = present + absent
    return records


def _first_value_key(path: str) -> Callable[[Json], tuple[bool, float, str]]:
    return lambda record: _sort_key(values_at(record, path)[0])


def _sort_key(value: object) -> tuple[bool, float, str]:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return (not is_number, float(value) if isinstance(value, int | float) and is_number else 0.0, _text(value))
