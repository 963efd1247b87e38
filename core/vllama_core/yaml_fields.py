"""YAML read field by field, each with its line, so that an error can name both. Pure.

Only the tree of nodes is made, no objects: what a document may say is what its reader asks for.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from vllama_core.errors import ConfigError

LARGEST = 1 << 20
"""Characters of a document; a thousand models need a tenth of it."""
_TYPES = {
    "tag:yaml.org,2002:null": "nothing",
    "tag:yaml.org,2002:bool": "true or false",
    "tag:yaml.org,2002:int": "a whole number",
    "tag:yaml.org,2002:float": "a number",
    "tag:yaml.org,2002:str": "a text",
    "tag:yaml.org,2002:map": "a mapping",
    "tag:yaml.org,2002:seq": "a list",
}


@dataclass(frozen=True, slots=True)
class Field:
    """A place in a document.

    :ivar file: what errors call the document.
    :ivar path: such as ``models[0].model.source``; empty for the whole.
    """

    file: str
    path: str
    node: yaml.Node

    @property
    def line(self) -> int:
        """Counted from 1."""
        return int(self.node.start_mark.line) + 1

    def error(self, sentence: str) -> ConfigError:
        """What is wrong here, as an error that names file, line and field."""
        return ConfigError(f"{self.file}:{self.line}: {self.path + ' ' if self.path else ''}{sentence}")

    @property
    def kind(self) -> str:
        """In words."""
        return _TYPES.get(self.node.tag, f"of the type {self.node.tag}")

    @property
    def absent(self) -> bool:
        """Whether it says nothing, as an empty value or ``null`` does."""
        return isinstance(self.node, yaml.ScalarNode) and self.node.tag == "tag:yaml.org,2002:null"

    def mapping(self, known: Iterable[str]) -> dict[str, Field]:
        """Its fields; those that say nothing are left out.

        :param known: names that may be there.
        :raises ConfigError: it is no mapping, or has a field twice or one that is not known.
        """
        if not isinstance(self.node, yaml.MappingNode):
            raise self.error(f"must be a mapping; it is {self.kind}")
        names = list(known)
        found: dict[str, Field] = {}
        for key, value in self.node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise Field(self.file, self.path, key).error("has a field whose name is no text")
            name = key.value
            here = Field(self.file, f"{self.path}.{name}" if self.path else name, value)
            at = Field(self.file, here.path, key)
            if name not in names:
                near = difflib.get_close_matches(name, names, n=1)
                raise at.error(f"is not known here; {f'did you mean {near[0]}?' if near else 'there are ' + ', '.join(names)}")
            if name in found:
                raise at.error(f"is there twice, first on line {found[name].line}")
            found[name] = here
        return {name: field for name, field in found.items() if not field.absent}

    def items(self) -> Iterator[Field]:
        """The elements of a list.

        :raises ConfigError: it is none.
        """
        if not isinstance(self.node, yaml.SequenceNode):
            raise self.error(f"must be a list; it is {self.kind}")
        return (Field(self.file, f"{self.path}[{index}]", node) for index, node in enumerate(self.node.value))

    def text(self) -> str:
        """A text; a number counts as it is written.

        :raises ConfigError: it is none.
        """
        if not isinstance(self.node, yaml.ScalarNode) or not self.node.value:
            raise self.error(f"must be a text; it is {self.kind if not isinstance(self.node, yaml.ScalarNode) else 'empty'}")
        return str(self.node.value)

    def one_of(self, *words: str) -> str:
        """One of some words.

        :raises ConfigError: it is another one.
        """
        text = self.text()
        if text not in words:
            raise self.error(f"is {text!r}; it must be one of {', '.join(words)}")
        return text

    def whole(self, *, least: int, most: int | None = None) -> int:
        """A whole number.

        :raises ConfigError: it is none, or out of range.
        """
        value = self._scalar()
        if type(value) is not int or value < least or (most is not None and value > most):
            raise self.error(
                f"is {self._shown}; it must be a whole number, {f'at least {least}' if most is None else f'{least} to {most}'}"
            )
        return value

    def number(self, *, above: float) -> float:
        """A finite number.

        :raises ConfigError: it is none, or too small.
        """
        value = self._scalar()
        if type(value) not in (int, float) or not above < value < float("inf"):
            raise self.error(f"is {self._shown}; it must be a number greater than {above:g}")
        return float(value)

    def boolean(self) -> bool:
        """true or false.

        :raises ConfigError: it is neither.
        """
        value = self._scalar()
        if type(value) is not bool:
            raise self.error(f"is {self._shown}; it must be true or false")
        return value

    def _scalar(self) -> Any:
        if not isinstance(self.node, yaml.ScalarNode):
            return None
        try:
            return yaml.SafeLoader("").construct_object(self.node)
        except (yaml.YAMLError, ValueError):
            return None

    @property
    def _shown(self) -> str:
        return repr(self.node.value) if isinstance(self.node, yaml.ScalarNode) else self.kind


def read(text: str, *, file: str) -> Field:
    """The root of a document.

    :raises ConfigError: it is no YAML, is empty, or too large.
    """
    if len(text) > LARGEST:
        raise ConfigError(f"{file} has {len(text)} characters; at most {LARGEST} are read")
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        raise ConfigError(f"{file}{f':{mark.line + 1}' if mark else ''}: is not readable as YAML: {error.problem}") from None
    except RecursionError:
        raise ConfigError(f"{file}: is not readable as YAML: it is nested too deeply") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{file}: is not readable as YAML: {error}") from None
    if node is None:
        raise ConfigError(f"{file} is empty; it must have a list called models")
    return Field(file, "", node)
