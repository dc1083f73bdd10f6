"""Whether a server answers."""

import socket
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

from refinenet_pl.servers import answers


def test_server_that_answers_with_an_error():
    class NotFound(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_error(404)

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), NotFound) as server:
        Thread(target=server.handle_request, daemon=True).start()
        assert answers(f"http://127.0.0.1:{server.server_port}", 6)


def test_server_that_says_nothing():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert not answers(f"http://127.0.0.1:{silent.getsockname()[1]}", 0.2)


def test_no_server():
    assert not answers("http://no-such-host.invalid", 0.2)
