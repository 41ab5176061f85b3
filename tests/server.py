"""A real server on this machine, for the tests that download."""

import contextlib
import functools
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Serve the folder at the address that this gives, at first without faults."""
    Server.faults, Server.asked = {}, []
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Server, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class Server(SimpleHTTPRequestHandler):
    """Serves a folder; `faults` maps a file name to what goes wrong with it, once for each entry."""

    faults: dict[str, list[str]] = {}
    asked: list[str] = []

    def do_GET(self):
        name = self.path.rsplit("/", 1)[-1]
        self.asked.append(name)
        fault = self.faults.get(name, []).pop(0) if self.faults.get(name) else None
        if fault == "error":
            self.send_error(503)
        elif fault == "cut":
            content = Path(self.directory, name).read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True
        else:
            super().do_GET()

    def log_message(self, *_):
        pass
