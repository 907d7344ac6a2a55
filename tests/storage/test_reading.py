"""Reading files that anyone may have written."""

import json
import os
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from nextrec_like.storage.reading import check_format, inside, read_description, read_json, read_text
from nextrec_like.storage.records import build, typed

FIX = "save it again"


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        -1.5e300,
        2**64 - 1,
        -(2**63),
        "käse 転換 \U0001f600 \x1b",
        [[], {}, {"a": {"b": [1, None]}}],
    ],
    ids=str,
)
@pytest.mark.parametrize("ascii_only", [True, False])
def test_what_json_can_hold_is_read_as_it_was(value, ascii_only, tmp_path):
    file = tmp_path / "a.json"
    file.write_text(json.dumps(value, ensure_ascii=ascii_only), encoding="utf-8")
    assert read_json(file, FIX) == value


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"{} {}", "not valid JSON"),
        (b"{'a': 1}", "not valid JSON"),
        (b'{"a": 1, "b": 2, "a": 1}', "the key 'a' is given twice"),
        (b"[NaN]", "the number NaN is not finite"),
        (b"[-Infinity]", "the number -Infinity is not finite"),
        (b"[1e999]", "the number 1e999 is not finite"),
        (b"[" + b"9" * 21 + b"]", "a number has 21 digits"),
        (b"[" + b"9" * 100_000 + b"]", "a number has 100000 digits"),
        (b'["\xff"]', "not UTF-8 at byte 2"),
        (b"\xef\xbb\xbf[]", "not valid JSON"),
        (b'["\\ud800"]', "not valid JSON"),
        (b'{"\\udfff": 1}', "not valid JSON"),
        (b"[" * 41 + b"]" * 41, "more than 40 levels"),
        (b'{"a":' * 41 + b"1" + b"}" * 41, "more than 40 levels"),
        (b"[" * 1_000_000, "more than 40 levels"),
        (b'{"a":' * 300_000, "more than 40 levels"),
    ],
    ids=range(18),
)
def test_what_is_not_strictly_json_is_refused_with_the_reason(content, reason, tmp_path, refused):
    (tmp_path / "a.json").write_bytes(content)
    with refused(f"`{tmp_path / 'a.json'}` could not be read: ", reason, f"; {FIX}."):
        read_json(tmp_path / "a.json", FIX)


def test_depth_counts_lists_and_objects_but_no_brackets_in_a_text(tmp_path):
    deepest = "[" * 40 + "]" * 40
    (tmp_path / "a.json").write_text(f'{{"{"[" * 99}": 1}}')
    assert read_json(tmp_path / "a.json", FIX) == {"[" * 99: 1}
    (tmp_path / "a.json").write_text(deepest)
    assert json.dumps(read_json(tmp_path / "a.json", FIX)) == deepest


def test_size_is_limited_before_a_file_is_read(tmp_path, refused):
    file = tmp_path / "a.json"
    with file.open("wb") as opened:
        opened.truncate(2**36)  # takes no space on the disk, and would take all memory
    with refused("`", "has more than 16,777,216 bytes", FIX):
        read_json(file, FIX)
    file.write_text("[1, 2]")
    assert read_json(file, FIX, max_bytes=6) == [1, 2]
    with refused("has more than 5 bytes"):
        read_json(file, FIX, max_bytes=5)


@pytest.mark.parametrize("kind", ["pipe", "link to a pipe", "folder", "nothing", "loop"])
def test_only_plain_files_are_opened(kind, tmp_path, refused):
    file = tmp_path / "a.json"
    if kind == "folder":
        file.mkdir()
    elif kind == "pipe":
        os.mkfifo(file)
    elif kind == "loop":
        file.symlink_to(file)
    elif kind == "link to a pipe":
        os.mkfifo(tmp_path / "pipe")
        file.symlink_to("pipe")
    with refused(str(file), FIX):
        read_text(file, FIX)
    with refused(str(file), FIX):
        inside(tmp_path, "a.json", FIX)


@pytest.mark.parametrize("name", ["../secret", "sub/../../secret", "link", "folder/secret", "/etc/hostname", "a\0b"])
def test_no_name_leads_out_of_a_folder(name, tmp_path, refused):
    (tmp_path / "secret").write_text("{}")
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "folder").symlink_to(tmp_path)
    with refused(str(folder), FIX):
        inside(folder, name, FIX)


def test_links_within_a_folder_and_to_it_are_followed(tmp_path):
    (tmp_path / "model" / "sub").mkdir(parents=True)
    (tmp_path / "model" / "sub" / "a").write_text("{}")
    (tmp_path / "model" / "b").symlink_to("sub/a")
    (tmp_path / "other").symlink_to("model")
    assert inside(tmp_path / "other", "b", FIX).read_text() == "{}"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"format": 1}, ["format 1", "reads format 2", "an older version", FIX]),
        ({"format": 3}, ["format 3", "reads format 2", "a newer version", "update the library"]),
        *[(each, ["reads format 2", FIX]) for each in ({}, [], None, "2", {"format": "2"}, {"format": 2.0})],
        *[({"format": each}, ["reads format 2", FIX]) for each in (True, None, [2])],
    ],
    ids=range(11),
)
def test_other_formats_are_refused_by_name(content, words, tmp_path, refused):
    (tmp_path / "a.json").write_text(json.dumps(content))
    with refused(f"`{tmp_path / 'a.json'}`", *words):
        read_description(tmp_path, "a.json", 2, FIX)


def test_the_format_that_is_read_passes(tmp_path):
    content = {"format": 2, "a": 1}
    assert check_format(content, 2, tmp_path, FIX) == content


@dataclass
class Inner:
    name: str
    share: float = 0.5


@dataclass
class Outer:
    count: int
    inner: list[Inner]
    by_name: dict[str, float | None]
    word: Literal["a", "b"] = "a"
    anything: Any = None
    on: bool | None = None
    number: float | str | None = None
    more: list[int] = field(default_factory=list)


def test_a_record_is_built_with_all_that_is_within_it():
    content = {
        "count": 3,
        "inner": [{"name": "x"}, {"name": "y", "share": 1}],
        "by_name": {"a": None, "b": 1.5},
        "word": "b",
        "anything": {"z": [1]},
        "number": "mean",
    }
    expected = Outer(3, [Inner("x"), Inner("y", 1)], {"a": None, "b": 1.5}, "b", {"z": [1]}, None, "mean", [])
    assert build(Outer, content, "it") == expected


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"count": "3"}, ["`count` of it should be an integer", "'3'"]),
        ({"count": True}, ["`count` of it should be an integer"]),
        ({"count": 3.0}, ["`count` of it should be an integer"]),
        ({"count": None}, ["`count` of it should be an integer"]),
        ({"inner": {}}, ["`inner` of it should be a list"]),
        ({"inner": [3]}, ["`inner` of it should be an object"]),
        ({"inner": [{"name": []}]}, ["`name` of `inner` of it should be a text"]),
        ({"inner": [{}]}, ["`inner` of it lacks the key `name`"]),
        ({"by_name": {"a": "x"}}, ["`a` in `by_name` of it should be a number"]),
        ({"word": "c"}, ["`word` of it should be one of the known words", "'c'"]),
        ({"word": []}, ["`word` of it should be one of the known words"]),
        ({"on": 1}, ["`on` of it should be true or false"]),
        ({"number": []}, ["`number` of it should be a number"]),
        ({"conut": 3}, ["Unknown key of it `conut`", "Did you mean `count`?"]),
        ({"__class__": "x"}, ["Unknown key of it `__class__`"]),
    ],
    ids=range(15),
)
def test_a_record_of_another_form_is_refused_with_the_place(change, words, refused):
    with refused(*words):
        build(Outer, {"count": 3, "inner": [], "by_name": {}, **change}, "it")


@pytest.mark.parametrize("content", [None, [], "x", 3])
def test_a_record_is_an_object(content, refused):
    with refused("it should be an object"):
        build(Outer, content, "it")
    with refused("it should be a list"):
        typed(list[Outer], {}, "it")
