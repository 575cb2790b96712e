"""Where data is held: plain files, DVC's pointers and Git LFS', in every mix of them."""

import hashlib
import json
from pathlib import Path

import pytest

from ci_mlops.dataset.held import Held, Stores, dvc_caches, held, is_same
from ci_mlops.errors import CannotLook

ROWS = b"id,age\n1,30\n2,40\n"
OTHER = b"id,age\n1,31\n2,40\n"


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


class Project:
    """A folder with DVC's cache and Git LFS' objects beside it."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.cache = top / ".dvc" / "cache"
        self.objects = top / "lfs"
        self.stores = Stores(dvc=(self.cache,), lfs=(self.objects,))

    def write(self, name: str, content: bytes) -> None:
        path = self.top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def cached(self, content: bytes, *, old: bool = False, suffix: str = "") -> str:
        digest = md5(content) + suffix
        folder = self.cache if old else self.cache / "files" / "md5"
        self.write(str((folder / digest[:2] / digest[2:]).relative_to(self.top)), content)
        return digest

    def dvc(self, side: str, digest: str, name: str = "data.csv") -> Held:
        text = f"outs:\n- md5: {digest}\n  size: 17\n  hash: md5\n  path: {name}\n"
        self.write(f"{side}/{name}.dvc", text.encode())
        return self.held(side, name)

    def lfs(self, side: str, content: bytes, *, stored: bool = False) -> Held:
        oid = hashlib.sha256(content).hexdigest()
        text = (
            f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(content)}\n"
        )
        self.write(f"{side}/data.csv", text.encode())
        if stored:
            self.write(f"lfs/{oid[:2]}/{oid[2:4]}/{oid}", content)
        return self.held(side)

    def plain(self, side: str, content: bytes, name: str = "data.csv") -> Held:
        self.write(f"{side}/{name}", content)
        return self.held(side)

    def held(self, side: str, name: str = "data.csv") -> Held:
        found = held(self.top / side, self.top, name, self.stores)
        assert found is not None
        return found

    def tracked_folder(self, files: dict[str, bytes], *, stored: bool = True) -> str:
        listed = [{"md5": md5(files[name]), "relpath": name} for name in sorted(files)]
        for content in files.values() if stored else ():
            self.cached(content)
        return self.cached(json.dumps(listed, sort_keys=True).encode(), suffix=".dir")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path)
    made.cache.mkdir(parents=True)
    return made


def test_equal_digests_are_equal_data_without_content(project: Project) -> None:
    one, two = project.dvc("base", md5(ROWS)), project.dvc("head", md5(ROWS))
    assert one.source is two.source is None
    assert is_same(one, two)
    assert is_same(project.lfs("b2", ROWS), project.lfs("h2", ROWS))


def test_other_digests_are_other_data_and_say_how_to_fetch_it(project: Project) -> None:
    one, two = project.dvc("base", md5(ROWS)), project.dvc("head", md5(OTHER))
    assert not is_same(one, two)
    assert "`dvc pull data.csv`" in one.missing
    three = project.lfs("h2", OTHER)
    assert not is_same(project.lfs("b2", ROWS), three)
    assert '`git lfs pull -I "data.csv"`' in three.missing


@pytest.mark.parametrize("old", [False, True])
def test_content_comes_from_the_cache_of_either_version(project: Project, *, old: bool) -> None:
    found = project.dvc("head", project.cached(ROWS, old=old))
    assert found.source is not None
    assert found.source.shape.rows == 2
    assert not found.missing


def test_content_comes_from_the_objects_of_lfs(project: Project) -> None:
    found = project.lfs("head", ROWS, stored=True)
    assert found.source is not None
    assert found.source.shape.rows == 2


def test_plain_content_is_digested_as_the_other_side_is(project: Project) -> None:
    plain = project.plain("plain", ROWS)
    assert is_same(project.dvc("base", md5(ROWS)), plain)
    assert is_same(project.lfs("b2", ROWS), plain)
    assert is_same(plain, project.plain("p2", ROWS))
    assert not is_same(plain, project.plain("p3", OTHER))
    assert not is_same(project.dvc("b3", md5(ROWS)), project.lfs("b4", ROWS)), "not known to be"


def test_what_stands_there_counts_and_not_the_pointer_beside_it(project: Project) -> None:
    project.dvc("head", md5(ROWS))
    changed = project.plain("head", OTHER)
    assert not is_same(project.dvc("base", md5(ROWS)), changed)


def test_a_lock_file_names_outputs_and_a_folder_above_may_hold_it(project: Project) -> None:
    lock = f"schema: '2.0'\nstages:\n  make:\n    outs:\n    - path: sub/data.csv\n      md5: {md5(ROWS)}\n"
    project.write("head/dvc.lock", lock.encode())
    found = held(project.top / "head" / "sub", project.top, "data.csv", project.stores)
    assert found is not None
    assert found.digest == md5(ROWS)
    assert held(project.top / "head" / "sub", project.top, "other.csv", project.stores) is None


def test_a_working_folder_is_where_its_outputs_are(project: Project) -> None:
    text = f"wdir: ../data\nouts:\n- md5: {md5(ROWS)}\n  path: ./a.csv\n- path: no-digest.csv\n"
    project.write("head/data/a.csv.dvc", text.encode())
    assert project.held("head", "data/a.csv").digest == md5(ROWS)


def test_a_file_in_a_folder_that_dvc_tracks(project: Project) -> None:
    digest = project.tracked_folder({"a.csv": ROWS, "more/b.csv": OTHER})
    project.dvc("head", digest, "data")
    found = project.held("head", "data/a.csv")
    assert found.digest == md5(ROWS)
    assert found.source is not None
    assert found.source.shape.rows == 2
    below = project.held("head", "data/more")
    assert below.source is not None
    assert below.source.shape.rows == 2
    assert not project.held("head", "data/none.csv").source


def test_a_whole_folder_that_dvc_tracks(project: Project) -> None:
    files = {"year=1/a.csv": ROWS, "year=2/a.csv": OTHER}
    digest = project.tracked_folder(files)
    found = project.dvc("head", digest, "data")
    assert found.source is not None
    assert found.source.shape.rows == 4
    assert found.source.shape.columns["year"] == "int"
    for name, content in files.items():
        project.write(f"plain/data/{name}", content)
    assert is_same(found, project.held("plain", "data")), "digested as DVC does"
    assert is_same(project.held("plain", "data"), project.held("plain", "data"))


def test_a_folder_whose_list_or_files_are_away(project: Project) -> None:
    away = f"{'0' * 32}.dir"
    one, two = project.dvc("base", away, "data"), project.dvc("head", away, "data")
    assert one.source is None
    assert is_same(one, two)
    assert is_same(project.held("base", "data/a.csv"), project.held("head", "data/a.csv"))
    partly = project.dvc("h2", project.tracked_folder({"a.csv": ROWS}, stored=False), "data")
    assert partly.source is None
    assert "dvc pull data" in partly.missing


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("data.csv.dvc", b"outs: [{md5: ../../etc/passwd, path: data.csv}]", "md5 that is none"),
        ("data.csv.dvc", b"outs: [", "no pointer of DVC"),
        ("data.csv.dvc", b"\xff", "no pointer of DVC"),
    ],
)
def test_a_broken_pointer_is_one_line(
    project: Project, name: str, content: bytes, said: str
) -> None:
    project.write(f"head/{name}", content)
    with pytest.raises(CannotLook, match=said):
        project.held("head")


@pytest.mark.parametrize(
    "content", [b"[]", b"outs: no", b"outs: [1]", b"stages: 1", b"stages: {a: 1}"]
)
def test_pointers_to_nothing_are_no_data(project: Project, content: bytes) -> None:
    project.write("head/data.csv.dvc", content)
    project.write("head/dvc.lock", content)
    assert held(project.top / "head", project.top, "data.csv", project.stores) is None


@pytest.mark.parametrize(
    "manifest", [b"no json", b'[{"relpath": "a"}]', b'[{"relpath": "a", "md5": "../x"}]']
)
def test_a_broken_list_of_a_folder_is_one_line(project: Project, manifest: bytes) -> None:
    with pytest.raises(CannotLook, match="list in the DVC cache is broken"):
        project.dvc("head", project.cached(manifest, suffix=".dir"), "data")


def test_a_location_outside_of_the_project_is_refused(project: Project) -> None:
    project.write("head/data.csv", ROWS)
    project.write("secret.csv", ROWS)
    with pytest.raises(CannotLook, match="outside of the project"):
        held(project.top / "head", project.top, "../secret.csv", project.stores)


def test_the_cache_is_where_dvc_is_told_that_it_is(project: Project) -> None:
    root = project.top / "sub"
    root.mkdir()
    assert dvc_caches(root, project.top) == (project.cache,)
    project.write(".dvc/config", b"[cache]\n    dir = ../elsewhere\n")
    project.write(".dvc/config.local", b"no config")
    found = dvc_caches(root, project.top)
    assert [one.resolve() for one in found] == [project.cache, project.top / "elsewhere"]
    assert dvc_caches(root, root) == ()
