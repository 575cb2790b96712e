"""A file of corrections with one more: no twin, no contradiction, nothing lost."""

import threading
from pathlib import Path

import pytest

from ci_mlops.dataset import feedback
from ci_mlops.dataset.feedback import Case
from ci_mlops.errors import CannotLook, ConfigError, OutsideError
from ci_mlops.feedback import file
from tests.unit.feedback.situations import ROW, contract

DOMAIN = contract().domain
HEADER = b"income,debt,state,race,told,expected,tolerance,issue,reason\n"


def case(expected: str = "no", **cells: str) -> Case:
    return Case(cells={**ROW, **cells}, expected=expected, issue=12, reason='a "slip", no more')


def test_the_first_makes_the_file(tmp_path: Path) -> None:
    made = file.add(tmp_path, "feedback/cases.csv", case(), DOMAIN)
    assert (made.file, made.line) == ("feedback/cases.csv", 2)
    row = b'2000,,NY,black,a new roof,no,,12,"a ""slip"", no more"\n'
    assert (tmp_path / "feedback" / "cases.csv").read_bytes() == HEADER + row
    assert [one.name for one in (tmp_path / "feedback").iterdir()] == ["cases.csv"]
    (read,) = feedback.parse(HEADER + row, "f").cases
    assert read == Case(cells=ROW, expected="no", issue=12, reason=case().reason, line=2)


@pytest.mark.parametrize(
    ("before", "line", "end"),
    [
        (HEADER, 2, b"\n"),
        (HEADER.rstrip(), 2, b"\n"),
        (HEADER.replace(b"\n", b"\r\n"), 2, b"\r\n"),
        (HEADER + b'100,0,TX,white,"two\nlines",no,,3,\n', 4, b"\n"),
    ],
)
def test_another_goes_to_its_end(before: bytes, line: int, end: bytes) -> None:
    made = file.added(before, "f.csv", case(), DOMAIN)
    assert made.line == line
    assert made.data.startswith(before)
    assert made.data.endswith(b'more"' + end)
    assert feedback.parse(made.data, "f.csv").cases[-1].line == line


def test_columns_may_stand_in_another_order() -> None:
    before = b"issue,expected,told,race,state,debt,income,reason\n"
    made = file.added(before, "f.csv", case(), DOMAIN)
    assert made.data.startswith(before + b"12,no,a new roof,black,NY,,2000,")


def test_a_correction_that_is_there_is_refused_with_its_line() -> None:
    before = file.added(None, "f.csv", case(), DOMAIN).data
    for same in (case(), case(income="2000.0")):
        with pytest.raises(ConfigError, match="f.csv:2: holds this correction already, of issue 1"):
            file.added(before, "f.csv", same, DOMAIN)
    with pytest.raises(ConfigError, match="f.csv:2: says otherwise about the same row, by issue"):
        file.added(before, "f.csv", case("yes"), DOMAIN)


def test_numbers_are_one_answer_however_they_are_written() -> None:
    before = file.added(None, "f.csv", case("40"), DOMAIN).data
    with pytest.raises(ConfigError, match="holds this correction already"):
        file.added(before, "f.csv", case("40.0"), DOMAIN)


def test_a_file_that_is_wrong_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    for text, said in (
        (HEADER.replace(b",reason", b""), "f.csv:1: has no column 'reason'"),
        (HEADER.replace(b"debt", b"dept"), "f.csv:1: has no column 'debt'"),
        (HEADER + b"1\n", "f.csv:2: has 1 cells"),
    ):
        path.write_bytes(text)
        with pytest.raises(CannotLook) as caught:
            file.add(tmp_path, "f.csv", case(), DOMAIN)
        assert said in str(caught.value)
        assert path.read_bytes() == text


def test_a_path_outside_and_a_folder_in_the_way(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "link").symlink_to(tmp_path)
    for name in ("../f.csv", "link/f.csv"):
        with pytest.raises(ConfigError, match="lies outside of the project"):
            file.add(inside, name, case(), DOMAIN)
    (inside / "taken").write_text("", encoding="utf-8")
    with pytest.raises(OutsideError, match="taken/f.csv: cannot be written"):
        file.add(inside, "taken/f.csv", case(), DOMAIN)


def test_several_at_once_lose_none(tmp_path: Path) -> None:
    rows = [case(told=f"words {n}") for n in range(12)]
    threads = [
        threading.Thread(target=file.add, args=(tmp_path, "f.csv", one, DOMAIN)) for one in rows
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    cases = feedback.parse((tmp_path / "f.csv").read_bytes(), "f.csv").cases
    assert sorted(one.cells["told"] for one in cases) == sorted(one.cells["told"] for one in rows)
