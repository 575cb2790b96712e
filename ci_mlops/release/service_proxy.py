"""An address on loopback for services of a cluster, through its API server.

Whoever has a kubeconfig can ask a service so, with no route into the cluster. Source:
https://kubernetes.io/docs/tasks/access-application-cluster/access-cluster-services/
"""

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from ci_mlops.serving.rows import REPLAYED

TIMEOUT_S = 30.0


class _Forwarding(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, client: Any, namespace: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.client = client
        self.namespace = namespace


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 65_536  # head and body in one packet
    server: _Forwarding

    def do_GET(self) -> None:
        """Pass a request on."""
        self._pass(None)

    def do_POST(self) -> None:
        """Pass a request and its body on."""
        self._pass(self.rfile.read(int(self.headers.get("content-length", "0"))))

    def _pass(self, body: bytes | None) -> None:
        import urllib3

        service, _, path = self.path.lstrip("/").partition("/")
        client = self.server.client
        headers = {"content-type": "application/json"} if body is not None else {}
        token = client.configuration.auth_settings().get("BearerToken", {}).get("value")
        headers |= {"authorization": token} if token else {}
        headers |= {REPLAYED: "1"} if REPLAYED in self.headers else {}
        place = f"/api/v1/namespaces/{self.server.namespace}/services/{service}:http/proxy/{path}"
        try:
            told = client.rest_client.pool_manager.request(
                self.command,
                f"{client.configuration.host}{place}",
                body=body,
                headers=headers,
                timeout=TIMEOUT_S,
                retries=False,
            )
            status, kind, data = told.status, told.headers.get("content-type", ""), told.data
        except urllib3.exceptions.HTTPError as fault:
            status, kind, data = 502, "text/plain", str(fault).encode()
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextlib.contextmanager
def forwarding(client: Any, namespace: str) -> Iterator[str]:
    """Yield an address below which each service of a namespace answers, by its name."""
    with _Forwarding(client, namespace) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
