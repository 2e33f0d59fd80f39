"""What a page does behind the scenes: requests to other machines, messages on the console, websocket traffic."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from playwright.sync_api import ConsoleMessage, Page, Request, WebSocket

LOCAL = ("127.0.0.1", "localhost")
# what the interfaces themselves do, with or without a view
USUAL = {
    "notebook": ("Command 'filebrowser:open-path' not registered", "undefined (reading 'schema')"),
    "voila": ("fontawesome-free", "mathjax", "labextensions/@jupyter-notebook"),
}


@dataclass
class Watch:
    """Notes of a page, from its beginning.

    Attributes
    ----------
    outside : list of str
        Addresses that the page asked for and that are not on this machine.
    errors : list of str
        Errors on the console, and exceptions nobody caught.
    sent, received : list of dict
        Messages of widgets from and to the page: "type" (comm_open, comm_msg ...), "bytes" with all buffers, and
        the content ("comm_id", "data").
    """

    outside: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    sent: list[dict[str, Any]] = field(default_factory=list)
    received: list[dict[str, Any]] = field(default_factory=list)
    expected: list[str] = field(default_factory=list, repr=False)

    def follow(self, page: Page) -> Watch:
        """Begin to listen; before the page loads anything."""
        page.on("request", self._request)
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("websocket", self._socket)
        return self

    def expect(self, *texts: str) -> None:
        """Allow errors and addresses that contain a text."""
        self.expected += texts

    def unexpected(self, found: list[str]) -> list[str]:
        """Errors or addresses that nothing allowed."""
        return [line for line in found if not any(text in line for text in self.expected)]

    def _request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme in ("http", "https", "ws", "wss", "ftp") and parts.hostname not in LOCAL:
            self.outside.append(request.url)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.errors.append(f"{message.text} ({message.location.get('url', '')})")

    def _socket(self, socket: WebSocket) -> None:
        socket.on("framesent", lambda data: note(self.sent, data))
        socket.on("framereceived", lambda data: note(self.received, data))


def note(messages: list[dict[str, Any]], data: str | bytes) -> None:
    """Keep a message of Jupyter's websocket if it is one of widgets.

    The kernel's protocol v1 puts a count and offsets of 64 bit first: of channel, header, parent, metadata, content,
    and buffers.
    """
    if isinstance(data, str):
        return
    count = int.from_bytes(data[:8], "little")
    if not 5 <= count <= 200 or len(data) < 8 * (count + 1):
        return
    offsets = [int.from_bytes(data[8 * i : 8 * (i + 1)], "little") for i in range(1, count + 1)]
    parts = [data[a:b] for a, b in zip(offsets, [*offsets[1:], len(data)], strict=True)]
    header = json.loads(parts[1])
    if header["msg_type"].startswith("comm"):
        messages.append({"type": header["msg_type"], "bytes": len(data), **json.loads(parts[4])})
