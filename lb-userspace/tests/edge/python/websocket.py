"""WebSocket with the Python library `websockets`: `server PORT`, or `client URL`."""

import sys
import threading

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.sync.server import serve


def echo(connection):
    try:
        for message in connection:
            if message == "close":
                return connection.close(4001, "as you wish")
            connection.send(message)
    except ConnectionClosed:
        pass


def run(port):
    with serve(echo, "127.0.0.1", int(port), subprotocols=["lb.test"], max_size=None) as server:
        threading.Thread(target=lambda: (sys.stdin.read(), server.shutdown())).start()
        server.serve_forever()


def client(url):
    def open_one():
        return connect(url, subprotocols=["lb.test"], max_size=None, proxy=None, open_timeout=30)

    with open_one() as socket:
        assert socket.subprotocol == "lb.test"
        for message in ("hello", "\u00e4" * 1000, b"\0\1", "x" * (2 << 20), bytes(2 << 20)):
            socket.send(message)
            assert socket.recv(timeout=30) == message
        # Sent in pieces, and a ping between two messages.
        socket.send(iter(["one", "two", "three"]))
        assert socket.recv(timeout=30) == "onetwothree"
        assert socket.ping().wait(30)
        # Many before any is read.
        for n in range(1000):
            socket.send(str(n))
        assert [socket.recv(timeout=30) for _ in range(1000)] == [str(n) for n in range(1000)]
        socket.send("close")
        try:
            socket.recv(timeout=30)
        except ConnectionClosed as end:
            assert (end.rcvd.code, end.rcvd.reason) == (4001, "as you wish"), end
        else:
            raise AssertionError("it was not closed")
    sockets = [open_one() for _ in range(20)]
    for n, socket in enumerate(sockets):
        socket.send(str(n))
    for n, socket in enumerate(sockets):
        assert socket.recv(timeout=30) == str(n)
        socket.close(1000, "bye")
    print("done")


{"server": run, "client": client}[sys.argv[1]](sys.argv[2])
