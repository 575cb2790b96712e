"""An image's archive with one time in place of all, so that equal inputs give an equal digest.

In: what `docker save` writes. Out: what `docker load` reads. Builders without SOURCE_DATE_EPOCH
write the time of day into files, the configuration and its history; nothing else differs.
"""

import contextlib
import hashlib
import io
import json
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import IO, Any

OF_THE_BUILD = ("container", "container_config", "docker_version")
"""Fields of a configuration that name the container of a build step, not the image."""


@contextlib.contextmanager
def with_times(saved: Iterable[bytes], *, epoch: int, below: Sequence[str]) -> Iterator[IO[bytes]]:
    """Yield the archive of the same image with every time at `epoch`, seconds since 1970.

    The layers `below`, the base image's by digest, stay as they are.
    """
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(tempfile.TemporaryFile())
        for piece in saved:
            source.write(piece)
        source.seek(0)
        read = stack.enter_context(tarfile.open(fileobj=source))
        made = stack.enter_context(tempfile.TemporaryFile())
        with tarfile.open(fileobj=made, mode="w") as written:
            _rewrite(read, written, epoch=epoch, below=frozenset(below))
        made.seek(0)
        yield made


def _rewrite(
    read: tarfile.TarFile, written: tarfile.TarFile, *, epoch: int, below: frozenset[str]
) -> None:
    (entry,) = json.loads(_member(read, "manifest.json").read())
    config = json.loads(_member(read, entry["Config"]).read())
    names: list[str] = []
    digests: list[str] = []
    for path, digest in zip(entry["Layers"], config["rootfs"]["diff_ids"], strict=True):
        with tempfile.TemporaryFile() as layer:
            source = _member(read, path)
            if digest in below:
                _copy(source, layer)
            else:
                _layer(source, layer, epoch)
            digests.append(f"sha256:{_sha256(layer)}")
            names.append(f"{len(names)}/layer.tar")
            info = tarfile.TarInfo(names[-1])
            info.size = layer.seek(0, io.SEEK_END)
            layer.seek(0)
            written.addfile(info, layer)
    text = json.dumps(_config(config, digests, epoch), sort_keys=True).encode()
    name = f"{hashlib.sha256(text).hexdigest()}.json"
    manifest = [{"Config": name, "RepoTags": entry.get("RepoTags"), "Layers": names}]
    for path, data in ((name, text), ("manifest.json", json.dumps(manifest).encode())):
        info = tarfile.TarInfo(path)
        info.size = len(data)
        written.addfile(info, io.BytesIO(data))


def _layer(source: IO[bytes], target: IO[bytes], epoch: int) -> None:
    """Copy a layer in its own order, in which a link follows what it links to."""
    with (
        tarfile.open(fileobj=source) as read,
        tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as written,
    ):
        for info in read:
            info.mtime, info.uname, info.gname = epoch, "", ""
            kept = {k: v for k, v in info.pax_headers.items() if k.startswith("SCHILY.xattr")}
            info.pax_headers = kept
            written.addfile(info, read.extractfile(info) if info.isreg() else None)


def _config(config: dict[str, Any], digests: list[str], epoch: int) -> dict[str, Any]:
    moment = datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    history = [{**one, "created": moment} for one in config.get("history", ())]
    inner = {k: v for k, v in config["config"].items() if k not in {"Image", "Hostname"}}
    return {
        **{key: value for key, value in config.items() if key not in OF_THE_BUILD},
        "config": inner,
        "created": moment,
        "history": history,
        "rootfs": {"type": "layers", "diff_ids": digests},
    }


def _member(read: tarfile.TarFile, name: str) -> IO[bytes]:
    found = read.extractfile(name)
    if found is None:
        raise ValueError(f"the image's archive holds no file {name}")
    return found


def _copy(source: IO[bytes], target: IO[bytes]) -> None:
    while piece := source.read(1 << 20):
        target.write(piece)


def _sha256(file: IO[bytes]) -> str:
    file.seek(0)
    digest = hashlib.sha256()
    while piece := file.read(1 << 20):
        digest.update(piece)
    return digest.hexdigest()
