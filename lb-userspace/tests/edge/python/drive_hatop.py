"""hatop, unmodified, under a terminal: what it shows, and keys that disable and enable a server and change its weight."""

import fcntl
import itertools
import os
import pty
import re
import select
import struct
import sys
import termios
import time

socket = sys.argv[1]
PATIENCE = 30

pid, terminal = pty.fork()
if pid == 0:
    os.environ["TERM"] = "xterm"
    os.execvp("hatop", ["hatop", "-s", socket, "-i", "1"])
fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
screen = b""


def read():
    global screen
    ready, _, _ = select.select([terminal], [], [], 0.1)
    if ready:
        screen += os.read(terminal, 65536)


def until(what, holds):
    end = time.time() + PATIENCE
    while not holds():
        assert time.time() < end, (what, screen[-2000:])
        read()


def shown():
    return re.sub(rb"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[()][AB0]|\x1b[=>]", b" ", screen).decode(errors="replace")


def state():
    import socket as sockets

    talk = sockets.socket(sockets.AF_UNIX)
    talk.connect(socket)
    talk.sendall(b"show stat b 4 -1\n")
    answer = b""
    while True:
        more = talk.recv(65536)
        if not more:
            break
        answer += more
    row = answer.decode().splitlines()[1].split(",")
    return row[17], row[18]


until("the table", lambda: "s1" in shown() and ">>> b" in shown())
# Over the lines, wherever the cursor begins, until the key has met the server.
KEYS = {"disable": b"\x1b[21~", "enable": b"\x1b[20~"}


def press(key, wanted):
    end = time.time() + PATIENCE
    ways = itertools.cycle([b""] + 8 * [b"\x1bOB"] + 8 * [b"\x1bOA"])
    while state()[0] != wanted:
        assert time.time() < end, shown()[-2000:]
        os.write(terminal, next(ways))
        read()
        os.write(terminal, key)
        read()


press(KEYS["disable"], "MAINT")
press(KEYS["enable"], "no check")
os.write(terminal, b"q")
end = time.time() + PATIENCE
while time.time() < end:
    try:
        read()
    except OSError:
        break
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
