"""A tool's arguments as Gemma writes objects: `{city:⟨quote⟩Paris⟨quote⟩,days:3,parts:[⟨quote⟩wind⟨quote⟩]}`, held to their schema. Pure.

Keys are bare and in the order of the alphabet, which is how the template shows earlier calls. Of a text `enum` and `const` are kept to;
`pattern`, `format` and lengths are not, as with all families that write texts without JSON's quotes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vllama_agent.chat.grammar_rules import NoForm, Rules, one_by_one, properties_of, quoted, required_of, spaced
from vllama_agent.chat.parsers import values

REFUSED = frozenset(
    {
        *("allOf", "contains", "dependentRequired", "dependentSchemas", "else", "if", "maxProperties", "minProperties", "not", "oneOf"),
        *("patternProperties", "prefixItems", "propertyNames", "then", "unevaluatedProperties", "uniqueItems"),
    }
)
KEY = "/[A-Za-z_][A-Za-z0-9_.\\-]{0,63}/"
"""Of an object whose properties have no names."""
MOST_ITEMS = 64
"""Of a list that has no `maxItems`, and pairs of an object without names: nothing else would end it."""
ANY = {"type": ["string", "number", "boolean", "null"]}
"""What a value may be that nothing is said of, within a list or an object."""
MARKS = frozenset(":{}[],")
BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
TYPES = ("string", "integer", "number", "boolean", "null", "array", "object")


def rule(schema: Mapping[str, Any], rules: Rules, *, quote: str) -> str:
    """The name of a rule for an object of this schema.

    :param quote: what stands before and behind a text.
    :raises NoForm: the schema uses a keyword that cannot be kept to.
    """
    return _Objects(schema, rules, quote).rule(schema)


class _Objects:
    """Rules for the parts of one schema.

    :param root: what references start from.
    """

    def __init__(self, root: Mapping[str, Any], rules: Rules, quote: str) -> None:
        self._root = root
        self._rules = rules
        self._quote = quote
        self._referred: dict[str, str] = {}

    def rule(self, schema: Any) -> str:
        """The name of a rule for any value of a schema."""
        if isinstance(schema, dict) and isinstance(reference := schema.get("$ref"), str):
            return self._referred_to(reference)
        return self._rules.rule(self._body(schema if isinstance(schema, dict) else ANY))

    def _referred_to(self, reference: str) -> str:
        if reference not in self._referred:
            self._referred[reference] = name = self._rules.name()
            self._rules.define(name, self._body(self._found(reference)))
        return self._referred[reference]

    def _found(self, reference: str) -> dict[str, Any]:
        found: Any = self._root
        for part in reference.removeprefix("#").removeprefix("/").split("/") if reference != "#" else ():
            found = found.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(found, dict) else None
        if not isinstance(found, dict) or "$ref" in found:
            raise NoForm(f'the reference "{reference}" in a tool\'s parameters leads to no schema')
        return found

    def _body(self, schema: dict[str, Any]) -> str:
        if unkept := REFUSED & schema.keys():
            raise NoForm(f"unsupported keywords in a tool's parameters: {', '.join(sorted(unkept))}; leave them out")
        if "const" in schema:
            return self._written(schema["const"])
        if isinstance(listed := schema.get("enum"), list) and listed:
            return " | ".join(map(self._written, listed))
        if isinstance(parts := schema.get("anyOf"), list) and parts:
            return " | ".join(map(self.rule, parts))
        types = values.types(schema) or ({"object"} if "properties" in schema else {"string"})
        if not types & set(TYPES):
            raise NoForm(f"unknown type in a tool's parameters; known are {', '.join(TYPES)}")
        return " | ".join(self._of_type(kind, schema) for kind in TYPES if kind in types)

    def _of_type(self, kind: str, schema: dict[str, Any]) -> str:
        match kind:
            case "string":
                return f"{self._rules.literal(self._quote)} {self._rules.until(self._quote)}"
            case "array":
                return self._rules.rule(self._list(schema))
            case "object":
                return self._rules.rule(self._object(schema))
            case _:
                kept = {key: schema[key] for key in BOUNDS if key in schema}
                return f"%json {spaced({**kept, 'type': kind})}"

    def _list(self, schema: dict[str, Any]) -> str:
        least = _count(schema, "minItems", 0)
        most = _count(schema, "maxItems", max(MOST_ITEMS, least))
        item = self.rule(schema.get("items", ANY))
        if most < 1:
            return '"[" "]"'
        row = f'{item} ("," {item}){{{max(0, least - 1)},{most - 1}}}'
        return f'"[" {row} "]"' if least else f'"[" ({row})? "]"'

    def _object(self, schema: dict[str, Any]) -> str:
        required = sorted(set(required_of(schema)))
        named = {**dict.fromkeys(required, ANY), **properties_of(schema)}
        if not named:
            return self._map(schema.get("additionalProperties", ANY))
        optional = sorted(named.keys() - set(required))
        needed, extra = ([self._pair(key, named[key]) for key in keys] for keys in (required, optional))
        return f'"{{" {one_by_one(needed, extra, self._rules, between=quoted(","))} "}}"'

    def _map(self, value: Any) -> str:
        if value is False:
            return '"{" "}"'
        pair = self._rules.rule(f'{KEY} ":" {self.rule(value)}')
        return f'"{{" ({pair} ("," {pair}){{0,{MOST_ITEMS - 1}}})? "}}"'

    def _pair(self, key: str, schema: Any) -> str:
        if MARKS & set(key):
            raise NoForm(f"a name in a tool's parameters has one of {' '.join(sorted(MARKS))} in it, which ends a name in Gemma's objects")
        return self._rules.rule(f"{quoted(f'{key}:')} {self.rule(schema)}")

    def _written(self, value: Any) -> str:
        """One value, as Gemma writes it."""
        return " ".join(part if marked else quoted(part) for marked, part in self._parts(value) if part)

    def _parts(self, value: Any) -> Iterator[tuple[bool, str]]:
        """Of a value that is written out: whether it is the grammar's own word already, and the text."""
        match value:
            case str():
                quote = self._rules.literal(self._quote)
                yield from ((True, quote), (False, value), (True, quote))
            case list():
                yield from self._row([("", item) for item in value], "[", "]")
            case dict():
                yield from self._row([(f"{key}:", value[key]) for key in sorted(value)], "{", "}")
            case _:
                yield False, values.dumps(value)

    def _row(self, items: Sequence[tuple[str, Any]], opening: str, closing: str) -> Iterator[tuple[bool, str]]:
        yield False, opening
        for number, (key, value) in enumerate(items):
            yield False, f"{',' if number else ''}{key}"
            yield from self._parts(value)
        yield False, closing


def _count(schema: Mapping[str, Any], key: str, otherwise: int) -> int:
    found = schema.get(key, otherwise)
    if not isinstance(found, int) or isinstance(found, bool) or found < 0:
        raise NoForm(f'"{key}" in a tool\'s parameters must be a whole number from 0 up')
    return found
