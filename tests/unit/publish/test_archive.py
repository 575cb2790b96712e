"""A zip file from a stranger: named members under caps, and no trick of the trade."""

import io
import stat
import struct
import tracemalloc
import warnings
import zipfile
import zlib

import pytest

from ci_mlops.errors import EvidenceError
from ci_mlops.evidence import MAX_BYTES
from ci_mlops.publish import archive
from tests.unit.publish.situations import zipped


def refused(data: bytes) -> str:
    with pytest.raises(EvidenceError) as said:
        archive.members(data, "artifact x")
    return str(said.value)


def test_named_members_are_read_and_others_are_not() -> None:
    data = zipped({"run.json": "{}", "data.json": "1", "report.html": "x", "a/data.json": "2"})
    assert archive.members(data, "x") == {"run.json": b"{}", "data.json": b"1"}
    assert archive.members(zipped({"evidence/run.json": "{}"}), "x") == {"run.json": b"{}"}


@pytest.mark.parametrize(
    "name", ["../run.json", "a/../../run.json", "/etc/run.json", "C:run.json", "a\\..\\run.json"]
)
def test_a_member_that_leaves_the_folder(name: str) -> None:
    assert "leaves its folder" in refused(zipped({"run.json": "{}", name: "x"}))


def test_a_symlink() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        link = zipfile.ZipInfo("data.json")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        made.writestr(link, "/etc/passwd")
    assert "no file: 'data.json'" in refused(buffer.getvalue())


@pytest.mark.parametrize(
    "names", [("run.json", "run.json"), ("run.json", "./run.json"), ("run.json", "RUN.json")]
)
def test_a_member_twice(names: tuple[str, str]) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in names:
            made.writestr(name, "{}")
    assert "twice" in refused(buffer.getvalue())


def test_a_member_at_the_top_and_in_the_folder() -> None:
    assert "at its top and in" in refused(zipped({"run.json": "1", "evidence/run.json": "2"}))


def test_a_bomb_that_unpacks_to_200_megabytes() -> None:
    data = zipped({"run.json": b"\0" * 200_000_000})
    assert len(data) < 200_000
    tracemalloc.start()
    said = refused(data)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "unpacks to more than is allowed" in said
    assert most < 4 * MAX_BYTES


def test_many_members_that_are_too_much_together() -> None:
    members = {f"s{n}.json": b"\0" * MAX_BYTES for n in range(9)}
    assert "unpacks to more than is allowed" in refused(zipped(members))


def test_a_size_that_lies() -> None:
    packed = zlib.compressobj(9, zlib.DEFLATED, -15)
    content = packed.compress(b"\0" * 50_000_000) + packed.flush()
    data = bytearray(zipped({"run.json": b"\0" * 50_000_000}))
    assert content in data
    claimed = struct.pack("<I", 50_000_000)
    while claimed in data:
        start = data.index(claimed)
        data[start : start + 4] = struct.pack("<I", 10)
    found = b""
    try:
        found = archive.members(bytes(data), "x")["run.json"]
    except EvidenceError:
        return
    assert len(found) <= MAX_BYTES


def test_too_many_members() -> None:
    assert "over 2000 members" in refused(zipped({f"{n}": "" for n in range(2001)}))


@pytest.mark.parametrize(
    "data",
    [b"", b"PK", b"x" * 1000, zipped({"run.json": "{}"})[:-30]],
    ids=["empty", "its first letters", "something else", "torn"],
)
def test_no_zip_at_all(data: bytes) -> None:
    assert "artifact x: cannot be unpacked" in refused(data)


def test_a_torn_member() -> None:
    data = bytearray(zipped({"run.json": bytes(range(256)) * 64}))
    data[60:90] = b"\xff" * 30
    assert "cannot be unpacked" in refused(bytes(data))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_foreign_form(method: int) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as made:
        made.writestr("run.json", "{}")
    assert "foreign form" in refused(buffer.getvalue())


def test_an_encrypted_member() -> None:
    data = bytearray(zipped({"run.json": "{}"}))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1
    assert "foreign form" in refused(bytes(data))
