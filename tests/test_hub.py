import http.server
import threading
import time

import pytest

from featherlight import hub


@pytest.fixture
def endpoint(monkeypatch):
    """Point the hub's client at an address of our own, with nothing remembered."""
    from huggingface_hub import constants

    def point(address: str, *, offline: bool = False) -> None:
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
        hub.reachable.cache_clear()

    yield point
    hub.reachable.cache_clear()


@pytest.fixture
def server():
    """A local server that answers every HEAD with 404."""
    handler = type("Handler", (http.server.BaseHTTPRequestHandler,), {
        "do_HEAD": lambda self: self.send_error(404), "log_message": lambda *_: None,
    })  # fmt: skip
    with http.server.HTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_a_server_that_answers_is_reachable_whatever_it_says(endpoint, server):
    endpoint(server)
    assert hub.reachable()


def test_a_closed_port_is_said_within_seconds(endpoint):
    endpoint("http://127.0.0.1:9")
    start = time.monotonic()
    assert not hub.reachable()
    assert time.monotonic() - start < hub.SECONDS + 1
    assert "cannot be reached (http://127.0.0.1:9)" in hub.why_unreachable()


def test_a_hub_that_is_switched_off_is_not_asked(endpoint, server):
    endpoint(server, offline=True)
    assert not hub.reachable()
    assert "HF_HUB_OFFLINE" in hub.why_unreachable()
