"""From a YAML file to a checked configuration."""

import re
import reprlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from nextrec_like.config.build import rehearse
from nextrec_like.config.document import ConfigError, Document, KeyPath, dotted, override, read_document
from nextrec_like.config.schema import Config
from nextrec_like.config.section import UnknownKeyError
from nextrec_like.errors import InputError, did_you_mean


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Reads and checks a configuration, without reading any data.

    Args:
        path: A YAML file.
        overrides: Values that replace those of the file, such as ``training.epochs=3`` or ``tasks.0.name=click``.

    Raises:
        InputError: For anything unknown, missing or out of range: ``file:line:column``, the key, the closest valid one.
    """
    document = read_document(Path(path))
    for assignment in overrides:
        document = override(document, assignment)
    try:
        config = Config.model_validate({"name": Path(path).stem, **document.data}, context=document)
    except ValidationError as error:
        raise ConfigError(_first_message(error, document)) from error
    rehearse(config)
    return config


def _first_message(error: ValidationError, document: Document) -> str:
    """The first error; where a value fits none of several types, pydantic has an error for each of them."""
    details = error.errors(include_url=False)
    paths = [document.existing(detail["loc"]) for detail in details]
    same = [detail for detail, path in zip(details, paths) if path == paths[0]]
    return _message(same, paths[0], document)


def _message(details: Sequence[Any], path: KeyPath, document: Document) -> str:
    detail = details[0]
    cause = detail.get("ctx", {}).get("error")
    where, owner = document.blamed(path), f"`{dotted(path)}`" if path else "the configuration"
    if isinstance(cause, UnknownKeyError):
        return (
            f"{document.place((*path, cause.key))}: unknown key `{cause.key}` in {owner}."
            f"{did_you_mean(cause.key, cause.known)} Known: {', '.join(cause.known)}."
        )
    if isinstance(cause, InputError):
        return f"{document.closest(str(cause), [str(path[0])]) if path else where}: {cause}"
    if detail["type"] == "missing":
        return f"{where}: {owner} needs the key `{detail['loc'][-1]}`."
    rules = " or ".join(dict.fromkeys(_rule(each) for each in details)).replace(" or be ", " or ")
    close = did_you_mean(detail["input"], re.findall("'(.*?)'", detail.get("ctx", {}).get("expected", "")))
    return f"{where}: {owner} should {rules}. Received {reprlib.repr(detail['input'])}.{close}"


def _rule(detail: Any) -> str:  # noqa: ANN401
    """What comes after "should" in the words of pydantic, such as "be an integer"."""
    if detail["type"] == "model_type":
        return "be a mapping"
    if detail["type"] == "literal_error" and detail["ctx"]["expected"] in ("True", "False"):
        return "be true or false"
    text = str(detail["msg"]).partition(" should ")[2].partition(" after validation")[0]
    return text.replace("a valid integer", "an integer").replace("valid dictionary", "mapping").replace("valid ", "")
