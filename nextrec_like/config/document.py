"""A YAML file as plain data that knows where each key was written."""

import re
import reprlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from nextrec_like.data.files import EXTENSIONS
from nextrec_like.errors import InputError
from nextrec_like.storage.paths import named_path

KeyPath: TypeAlias = tuple[str | int, ...]
"""Keys and list positions from the root down to a value."""

BOOLEANS = {word: value for value in (True, False) for word in (str(value), str(value).lower(), str(value).upper())}
DIGITS = "[0-9](_?[0-9])*"
FLOAT = rf"[-+]?(\.{DIGITS}|{DIGITS}(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
SPECIAL = r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"

# YAML 1.2: unlike in PyYAML's 1.1, 1e-3 is a number, and `no` and `2024-01-01` are text. The first pattern that fits.
PATTERNS = {
    "null": ("~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": ("|".join(BOOLEANS), list("tTfF")),
    "int": (f"[-+]?{DIGITS}", list("-+0123456789")),
    "float": (f"{FLOAT}|{SPECIAL}", list("-+.0123456789")),
}
SCALARS: dict[str, Callable[[str], object]] = {
    "null": lambda text: None,
    "bool": BOOLEANS.__getitem__,
    "int": int,
    "float": lambda text: float(text.replace(".", "") if text[-1].isalpha() else text),
    "str": str,
}
TAG = "tag:yaml.org,2002:"
MAX_BYTES, MAX_NODES, MAX_DEPTH, MAX_DIGITS = 2**20, 100_000, 50, 20
"""Size of a file; its keys and values, those of an anchor counted at each place where it is used; mappings and lists
within each other; digits of an integer. A configuration of a thousand columns has a tenth of each."""
PLAIN = {f"{TAG}{kind}" for kind in ("map", "seq", "str", *PATTERNS)}
TOO_LARGE = f"more than {MAX_NODES:,} values, or more than {MAX_DEPTH} within each other; no configuration needs them"
NOT_YAML = "looks like a table, not a YAML file; give a configuration whose `data` name the table."


class ConfigError(InputError):
    """An error in a configuration; the message begins with its place."""


class Loader(yaml.SafeLoader):
    """Parses YAML; scalars have the types of YAML 1.2."""

    yaml_implicit_resolvers = {}
    nodes = depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """As in PyYAML, but stops at a file that is too large before it is held in memory."""
        self.nodes, self.depth = self.nodes + 1, self.depth + 1
        if self.nodes > MAX_NODES or self.depth > MAX_DEPTH:
            raise yaml.composer.ComposerError(None, None, TOO_LARGE, self.peek_event().start_mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


class Dumper(yaml.SafeDumper):
    """Writes YAML that `Loader` reads back."""

    yaml_implicit_resolvers = {}

    def ignore_aliases(self, data: object) -> bool:
        """No anchors: equal values are written out."""
        return True


for _name, (_pattern, _first) in PATTERNS.items():
    for _class in (Loader, Dumper):
        _class.add_implicit_resolver(TAG + _name, re.compile(f"(?:{_pattern})$"), _first)


@dataclass(frozen=True)
class Document:
    """Plain data, and the place of every value in it.

    Args:
        data: Mappings, lists and scalars.
        places: For each path the place, as ``file:line:column`` or ``--set key=value``.
    """

    data: Any
    places: dict[KeyPath, str]

    def place(self, path: Sequence[str | int]) -> str:
        """Where a value was written or, if it was not, the closest value around it."""
        keys = tuple(path)
        while keys not in self.places:
            keys = keys[:-1]
        return self.places[keys]

    def blamed(self, path: KeyPath) -> str:
        """The place of a value that breaks a rule: the last ``--set`` of it or of a part of it, if there is one."""
        overrides = [
            place for keys, place in self.places.items() if keys[: len(path)] == path and place.startswith("--set ")
        ]
        return overrides[-1] if path and overrides else self.place(path)

    def grafted(self, source: KeyPath, target: KeyPath) -> "Document":
        """The document as if the value at the first path had been written at the second one."""
        value = self.data
        for key in source:
            value = value[key]
        places = {path: place for path, place in self.places.items() if path[: len(target)] != target}
        moved = {
            (*target, *path[len(source) :]): at for path, at in self.places.items() if path[: len(source)] == source
        }
        return Document({**self.data, str(target[0]): value}, {**places, target: self.place(source), **moved})

    def existing(self, path: Iterable[str | int]) -> KeyPath:
        """The path without the steps that the data do not have."""
        node = self.data
        found: KeyPath = ()
        for key in path:
            present = key in node if isinstance(node, dict) else isinstance(node, list) and key in range(len(node))
            if present:
                node, found = node[key], (*found, key)
        return found

    def closest(self, message: str, sections: Sequence[str]) -> str:
        """Where the names in backquotes in a message most likely were written.

        That is the path with most of the names and, among these, the one that ends in the offender: the name that the
        message begins with, as in "`lr` should be ...", or else the last one, as in "Unknown option of `adam` `lrr`".
        """
        text = message.split(" Did you mean")[0]
        names = [part for name in re.findall(r"`([^`]+)`", text) for part in dict.fromkeys((name, *name.split(".")))]
        names = list(reversed(names)) if text.startswith("`") else names
        matches = [
            match
            for section in sections
            if section in self.data
            for match in _matches(self.data[section], (section,), names, frozenset())
        ]
        return self.blamed(max(matches, key=lambda match: match[:2])[2] if matches else ())


def read_document(path: Path) -> Document:
    """Reads a YAML file whose root is a mapping.

    Raises:
        ConfigError: If the file is missing, a table, not text, not YAML, empty, or has a key twice.
    """
    path = named_path("The configuration", path)
    if path.is_file() and path.name.lower().endswith(tuple(EXTENSIONS)):
        raise ConfigError(f"`{path}` {NOT_YAML}")
    document = parse(_read_text(path), str(path))
    if not isinstance(document.data, dict):
        if isinstance(document.data, str):
            raise ConfigError(f"{path}:1:1: the file holds the text {reprlib.repr(document.data)}; it {NOT_YAML}")
        what = "is empty" if document.data is None else f"holds {_kind(document.data)}"
        raise ConfigError(f"{path}:1:1: the configuration {what}; it should be a mapping with `tasks`, `model`, ...")
    return document


def parse(text: str, source: str) -> Document:
    """Parses YAML text; `source` names it in places.

    Raises:
        ConfigError: If it is not YAML, or has a key twice.
    """
    try:
        node = yaml.compose(text, Loader)
    except yaml.MarkedYAMLError as error:
        place = _at(source, error.problem_mark or error.context_mark)
        detail = ", ".join(part for part in (error.context, error.problem) if part)
        raise ConfigError(f"{place}: not valid YAML: {detail}.") from error
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        place = f"{source}:{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"
        raise ConfigError(f"{place}: not valid YAML: the character {error.character!r} is not allowed.") from error
    except (ValueError, OverflowError) as error:  # a character or version whose number is out of range
        raise ConfigError(f"{source}:1:1: not valid YAML: {error}.") from error
    places: dict[KeyPath, str] = {(): f"{source}:1:1"}
    return Document(None if node is None else _construct(node, (), source, places, ()), places)


def override(document: Document, assignment: str) -> Document:
    """The document after ``key.key=value``, in which a list position counts as a key.

    Raises:
        ConfigError: If the assignment has another form, or leads through something that is no mapping or list.
    """
    source = f"--set {assignment}"
    dotted, equals, text = assignment.partition("=")
    if not equals or not all(dotted.split(".")):
        raise ConfigError(f"{source}: should be `key=value` with keys joined by dots, such as `training.epochs=3`.")
    try:
        value = parse(text, source).data
    except ConfigError as error:
        raise ConfigError(f"{source}: {str(error)[len(source) :].lstrip(':0123456789 ')}") from error
    keys = dotted.split(".")
    path, data = _set(document.data, keys, (), value, source)
    kept = {place: mark for place, mark in document.places.items() if place[: len(path)] != path}
    new = {path[:depth]: source for depth in range(1, len(path))}
    return Document(data, {**new, **kept, path: source})


def dump(data: object) -> str:
    """YAML text, innermost mappings and lists on one line."""
    return yaml.dump(data, Dumper=Dumper, default_flow_style=None, sort_keys=False, allow_unicode=True, width=118)


def dotted(path: Sequence[str | int]) -> str:
    """The path as `--set` takes it."""
    return ".".join(map(str, path))


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise ConfigError(f"{path}:1:1: the file has more than {MAX_BYTES:,} bytes, which no configuration needs.")
        return content.decode("utf-8-sig")
    except FileNotFoundError as error:
        raise ConfigError(f"There is no configuration `{path}` (current folder: `{Path.cwd()}`).") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}:1:1: the file is not UTF-8 text (byte {error.start}); save it as UTF-8.") from error
    except OSError as error:
        raise ConfigError(f"The configuration `{path}` could not be read: {error.strerror}.") from error


def _construct(node: yaml.Node, path: KeyPath, source: str, places: dict[KeyPath, str], inside: tuple[int, ...]) -> Any:  # noqa: ANN401
    if id(node) in inside:
        raise ConfigError(f"{_at(source, node.start_mark)}: the anchor contains itself.")
    if len(path) > MAX_DEPTH or len(places) > MAX_NODES:  # by anchors: the file itself was not too large for `Loader`
        raise ConfigError(f"{_at(source, node.start_mark)}: {TOO_LARGE}.")
    if node.tag not in PLAIN:
        raise ConfigError(
            f"{_at(source, node.start_mark)}: the tag `{node.tag.replace(TAG, '!!', 1)}` is not known; leave it out."
        )
    inside = (*inside, id(node))
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            places[(*path, index)] = _at(source, item.start_mark)
        return [_construct(item, (*path, index), source, places, inside) for index, item in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, path, source, places, inside)
    return _scalar(node, source)


def _mapping(
    node: yaml.MappingNode, path: KeyPath, source: str, places: dict[KeyPath, str], inside: tuple[int, ...]
) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key_node, value_node in node.value:
        here = _at(source, key_node.start_mark)
        if not isinstance(key_node, yaml.ScalarNode):
            raise ConfigError(f"{here}: a key should be a word, not a mapping or list.")
        key = _text(key_node, source)
        if key in result:
            raise ConfigError(f"{here}: key `{key}` is given twice; first at {places[(*path, key)]}.")
        places[(*path, key)] = here
        result[key] = _construct(value_node, (*path, key), source, places, inside)
    return result


def _scalar(node: yaml.Node, source: str) -> object:
    kind, value = node.tag.removeprefix(TAG), _text(node, source)
    try:
        if kind != "int" or len(value) <= MAX_DIGITS:
            return SCALARS[kind](value)
    except (KeyError, ValueError):
        pass
    raise ConfigError(f"{_at(source, node.start_mark)}: `{reprlib.repr(value)[1:-1]}` cannot be read as {node.tag}.")


def _text(node: yaml.Node, source: str) -> str:
    """The text of a key or value, unless an escape has put half of a character into it, which no file can hold."""
    try:
        node.value.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(f"{_at(source, node.start_mark)}: the text {node.value!a} is not valid Unicode.") from error
    return node.value


def _at(source: str, mark: yaml.Mark | None) -> str:
    return f"{source}:1:1" if mark is None else f"{source}:{mark.line + 1}:{mark.column + 1}"


def _kind(value: object) -> str:
    return "a list" if isinstance(value, list) else f"the value {reprlib.repr(value)}"


def _set(node: Any, keys: Sequence[str], path: KeyPath, value: object, source: str) -> tuple[KeyPath, Any]:  # noqa: ANN401
    """The full path, with list positions as integers, and a copy of the node with the value there."""
    if not keys:
        return path, value
    if isinstance(node, list):
        if not keys[0].isdecimal() or int(keys[0]) >= len(node):
            positions = f"from 0 to {len(node) - 1}" if node else "but it is empty"
            raise ConfigError(f"{source}: `{dotted(path)}` is a list; give a position {positions}, or the whole list.")
        index = int(keys[0])
        full, item = _set(node[index], keys[1:], (*path, index), value, source)
        return full, [*node[:index], item, *node[index + 1 :]]
    if node is not None and not isinstance(node, dict):
        raise ConfigError(f"{source}: `{dotted(path)}` is {reprlib.repr(node)}, not a mapping; set it as a whole.")
    node = node or {}
    full, item = _set(node.get(keys[0]), keys[1:], (*path, keys[0]), value, source)
    return full, {**node, keys[0]: item}


def _matches(
    node: object, path: KeyPath, names: Sequence[str], seen: frozenset[str]
) -> Iterator[tuple[int, int, KeyPath]]:
    """For the path and all below it: how many names it contains, the rank of the name that it ends in, the path."""
    own = {str(path[-1])} if isinstance(node, dict | list) else {str(path[-1]), str(node)}
    # `name: price` makes all of the mapping about `price`
    about = {str(node.get(key)) for key in ("name", "method")} if isinstance(node, dict) else set()
    seen = seen | ((own | about) & set(names))
    yield len(seen), max((rank for rank, name in enumerate(names) if name in own), default=-1), path
    for key, value in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        yield from _matches(value, (*path, key), names, seen)
