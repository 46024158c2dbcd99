#!/usr/bin/env python3
# Stands between both processes of an upgrade, as the binary of the new one, and passes on what they say up to a message named
# WHEN. Then it does what DO says: "hold" keeps that message and all after it to itself, "old" kills the old process
# and "new" the new one before the message has come, "both" both, and "wait" holds it until there is a file named `go`. A file named `there` beside it says that it has come to that.
import array, ctypes, json, os, signal, socket, struct, subprocess, sys, threading, time

folder = os.path.dirname(os.path.abspath(sys.argv[0]))
old = socket.socket(fileno=0)
ours, theirs = socket.socketpair()
# Goes with this process.
end = lambda: ctypes.CDLL(None).prctl(1, 9)
new = subprocess.Popen(["LB", *sys.argv[1:]], stdin=theirs, preexec_fn=end)
theirs.close()
lock, pid, there = threading.Lock(), None, False


def exactly(sock, count):
    data, fds = b"", array.array("i")
    while len(data) < count:
        try:
            more, control, _, _ = sock.recvmsg(count - len(data), 65536)
        except OSError:
            more, control = b"", []
        if not more:
            return None, fds
        data += more
        for level, kind, part in control:
            fds.frombytes(part)
    return data, fds


def kill(what, name):
    open(folder + "/there", "w").close()
    if what in ("old", "both"):
        os.kill(pid, signal.SIGKILL)
    if what in ("new", "both"):
        new.kill()


def pass_on(source, sink):
    global pid, there
    while True:
        # Descriptors come with the length.
        length, fds = exactly(source, 4)
        text = length and exactly(source, struct.unpack(">I", length)[0])[0]
        if not text:
            break
        message = json.loads(text)
        name = message if isinstance(message, str) else next(iter(message))
        if name == "Hello":
            pid = message["Hello"]["pid"]
        if name == "WHEN" and "DO" == "wait":
            open(folder + "/there", "w").close()
            while not os.path.exists(folder + "/go"):
                time.sleep(0.005)
        with lock:
            if name == "WHEN" and "DO" != "wait" and not there:
                there = True
                kill("DO", name)
            # What it was about to say it has not said.
            if there and ("DO" != "old" or source is old):
                continue
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)] if fds else []
        try:
            sink.sendmsg([length], rights)
            sink.sendall(text)
        except OSError:
            break
        for fd in fds:
            os.close(fd)
    # Whoever is left learns of it, both ways.
    for end in source, sink:
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


threading.Thread(target=pass_on, args=(old, ours), daemon=True).start()
threading.Thread(target=pass_on, args=(ours, old), daemon=True).start()
status = new.wait()
if status < 0:
    os.kill(os.getpid(), -status)
os._exit(status)
