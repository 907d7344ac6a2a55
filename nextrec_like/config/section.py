"""The building blocks of a configuration: mappings with known keys and strict types."""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Annotated, Any, TypeVar, get_type_hints

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model, model_validator

T = TypeVar("T")


class UnknownKeyError(ValueError):
    """A key that a mapping must not have.

    Args:
        key: The key.
        known: The keys that it may have.
    """

    def __init__(self, key: str, known: Sequence[str]) -> None:
        super().__init__(key)
        self.key, self.known = key, list(known)


class Section(BaseModel):
    """A mapping with known keys. Types are strict: a text is never a number."""

    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown(cls, data: object) -> object:
        for key in data if isinstance(data, Mapping) else ():
            if key not in cls.model_fields:
                raise UnknownKeyError(key, list(cls.model_fields))
        return data


def _named(value: object) -> object:
    return {"name": value} if isinstance(value, str) else value


def _as_list(value: object) -> object:
    return value if isinstance(value, list) else [value]


def section_of(kind: type[T]) -> type[Section]:
    """The section with the fields of a dataclass."""
    types = get_type_hints(kind)
    definitions: Any = {
        field.name: (types[field.name], ... if field.default is MISSING else field.default)
        for field in fields(kind)  # type: ignore[arg-type]
    }
    return create_model(kind.__name__, __base__=Section, **definitions)


def entries_of(kind: type) -> Any:  # noqa: ANN401
    """A list of which each entry is a name, or a mapping with the fields of a dataclass."""
    return list[Annotated[section_of(kind), BeforeValidator(_named)]]  # type: ignore[misc]


OneOrMore = BeforeValidator(_as_list)
Files = Annotated[list[str], OneOrMore, Field(min_length=1)]


class ModelSection(BaseModel):
    """Name and options of a model; which options there are, the class says."""

    model_config = ConfigDict(strict=True, frozen=True, extra="allow")

    name: str

    @property
    def options(self) -> dict[str, Any]:
        """All but the name."""
        return dict(self.model_extra or {})


NamedModel = Annotated[ModelSection, BeforeValidator(_named)]
