"""A bucket on loopback that speaks as much of S3 as a reader asks: list, look, get; signed only."""

import contextlib
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

KEY = "AKIATESTONLY"
LISTING = """\
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>{bucket}</Name>\
<IsTruncated>false</IsTruncated><KeyCount>{count}</KeyCount>{inside}</ListBucketResult>"""
CONTENT = "<Contents><Key>{key}</Key><Size>{size}</Size><LastModified>2026-11-01T00:00:00.000Z\
</LastModified></Contents>"
PREFIX = "<CommonPrefixes><Prefix>{}</Prefix></CommonPrefixes>"


@dataclass(kw_only=True)
class Bucket:
    """Objects by key, and what was asked for them."""

    name: str
    objects: Mapping[str, bytes]
    address: str = ""
    got: list[str] = field(default_factory=list)
    """Keys that were read."""

    def listing(self, prefix: str, delimiter: str) -> str:
        """Return the keys below a prefix as S3 lists them."""
        parts: dict[str, None] = {}
        for key, data in sorted(self.objects.items()):
            rest = key.removeprefix(prefix)
            if not key.startswith(prefix):
                continue
            if delimiter and delimiter in rest:
                folder = prefix + rest.partition(delimiter)[0] + delimiter
                parts[PREFIX.format(escape(folder))] = None
            else:
                parts[CONTENT.format(key=escape(key), size=len(data))] = None
        return LISTING.format(bucket=self.name, count=len(parts), inside="".join(parts))

    def answer(self, command: str, path: str, headers: Message) -> tuple[int, bytes, str]:
        """Return status, body and range of the answer to a request."""
        parts = urlsplit(path)
        name, _, key = unquote(parts.path).lstrip("/").partition("/")
        if f"Credential={KEY}/" not in headers.get("Authorization", ""):
            return 403, b"<Error><Code>AccessDenied</Code></Error>", ""
        if name != self.name or (key and key not in self.objects):
            return 404, b"<Error><Code>NoSuchKey</Code></Error>", ""
        if not key:
            asked = {one: values[0] for one, values in parse_qs(parts.query).items()}
            listed = self.listing(asked.get("prefix", ""), asked.get("delimiter", ""))
            return 200, listed.encode(), ""
        data = self.objects[key]
        if command == "GET":
            self.got.append(key)
        if "Range" not in headers:
            return 200, data, ""
        first, _, last = headers["Range"].removeprefix("bytes=").partition("-")
        part = data[int(first) : int(last) + 1 if last else None]
        return 206, part, f"bytes {first}-{int(first) + len(part) - 1}/{len(data)}"


@contextlib.contextmanager
def serving(bucket: Bucket) -> Iterator[Bucket]:
    """Serve a bucket until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            code, data, part = bucket.answer(self.command, self.path, self.headers)
            self.send_response(code)
            self.send_header("Content-Length", str(len(data)))
            if part:
                self.send_header("Content-Range", part)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        do_HEAD = do_GET

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    bucket.address = f"127.0.0.1:{server.server_port}"
    try:
        yield bucket
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
