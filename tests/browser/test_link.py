"""The slow link that other tests put in front of the server."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.browser.link import Lane, Link


@pytest.fixture
def echo() -> Iterator[int]:
    """Port of a server that sends back what it gets until the sender has done."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                while piece := connection.recv(65536):
                    connection.sendall(piece)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


def there_and_back(port: int, content: bytes) -> tuple[bytes, float]:
    """What came back, and the seconds until the last of it."""
    begin = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(content)
        connection.shutdown(socket.SHUT_WR)
        found = b""
        while piece := connection.recv(65536):
            found += piece
    return found, time.monotonic() - begin


def test_bytes_arrive_whole_in_order_and_are_counted(echo):
    content = bytes(range(256)) * 400
    with Link(echo, round_trip=0.0, rate=float("inf")) as link:
        found, _ = there_and_back(link.port, content)
        count = link.count
    assert found == content
    assert (count.to_server, count.to_browser) == (len(content), len(content))
    assert count.socket_to_server == count.socket_to_browser == 0


def test_nothing_is_faster_than_the_link(echo):
    with Link(echo, round_trip=0.1, rate=1e6) as link:
        found, seconds = there_and_back(link.port, bytes(100_000))
    assert len(found) == 100_000
    # a handshake and a way there and back; 100 kB on the line, there and (all but the first pieces) back
    assert seconds >= 0.2 + 0.1


def test_an_upgraded_connection_counts_as_a_websocket(echo):
    content = b"GET /api/kernels/1/channels HTTP/1.1\r\nUpgrade: websocket\r\n\r\n" + bytes(500)
    with Link(echo, round_trip=0.0, rate=float("inf")) as link:
        before = link.count
        there_and_back(link.port, content)
        count = link.count - before
    assert (count.socket_to_server, count.socket_to_browser) == (len(content), len(content))


def test_a_line_takes_turns_and_adds_its_delay():
    lane = Lane(delay=0.04, rate=1000.0)
    assert lane.send(100, now=5.0) == pytest.approx((5.1, 5.14))
    assert lane.send(100, now=5.0) == pytest.approx((5.2, 5.24))
    assert lane.send(100, now=9.0) == pytest.approx((9.1, 9.14))


def test_the_link_leaves_no_thread(echo):
    with Link(echo, round_trip=0.0) as link:
        there_and_back(link.port, b"some")
    assert not [thread for thread in threading.enumerate() if thread.name == "slow link"]
