"""haproxyctl, a program for Python 2, lists, weighs, disables and enables; exits with 77 where it cannot be run.

It runs as it is under Python 2 where there is one (LB_PYTHON2 names it), else as 2to3 translates it, with a socket that takes
and gives text as Python 2's does: what it asks and how it reads answers are its own."""

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile

SHIM = """
import socket as plain

class socket(plain.socket):
    def send(self, text):
        return super().send(text.encode())

    def recv(self, size):
        return super().recv(size).decode()
"""

spec = importlib.util.find_spec("haproxy")
script = os.path.join(os.path.dirname(sys.executable), "haproxyctl")
if spec is None or not os.path.exists(script):
    sys.exit(77)
site = os.path.dirname(os.path.dirname(spec.origin))


def works(python):
    try:
        return subprocess.run([python, "-c", "import ConfigParser, argparse"], capture_output=True).returncode == 0
    except OSError:
        return False


def translated(folder):
    shutil.copytree(os.path.join(site, "haproxy"), os.path.join(folder, "haproxy"))
    shutil.copy(script, os.path.join(folder, "haproxyctl.py"))
    done = subprocess.run([sys.executable, "-W", "ignore", "-m", "lib2to3", "-n", "-w", folder], capture_output=True)
    if done.returncode != 0:
        print(done.stderr.decode(), file=sys.stderr)
        sys.exit(77)
    with open(os.path.join(folder, "textsocket.py"), "w") as shim:
        shim.write(SHIM)
    conn = os.path.join(folder, "haproxy", "conn.py")
    with open(conn) as file:
        text = file.read()
    with open(conn, "w") as file:
        file.write(text + "\nfrom textsocket import socket\n")


with tempfile.TemporaryDirectory() as folder:
    pythons = [os.environ.get("LB_PYTHON2"), "python2", "python2.7"]
    python = next((python for python in pythons if python and works(python)), None)
    if python:
        command = [python, script]
        path = site
    else:
        translated(folder)
        command = [sys.executable, os.path.join(folder, "haproxyctl.py")]
        path = folder

    def ctl(*arguments):
        environment = dict(os.environ, PYTHONPATH=path, PYTHONDONTWRITEBYTECODE="1")
        done = subprocess.run(command + ["-k", sys.argv[1], *arguments], capture_output=True, env=environment)
        assert done.returncode == 0, (arguments, done.stderr.decode())
        return done.stdout.decode().strip()

    assert ctl("-c", "frontends") == "front"
    assert ctl("-c", "backends") == "back"
    assert ctl("-c", "info").startswith("Name: HAProxy\n")
    assert ctl("-c", "servers", "-b", "back").startswith("Name: s1 Status: no check Weight: 10 "), ctl("-c", "servers", "-b", "back")
    assert ctl("-c", "get-weight", "-b", "back", "-s", "s1") == "10 (initial 10)"
    assert ctl("-c", "set-weight", "-b", "back", "-s", "s1", "-w", "7") == ""
    assert ctl("-c", "get-weight", "-b", "back", "-s", "s1") == "7 (initial 10)"
    assert ctl("-c", "disable", "-b", "back", "-s", "s1") == ""
    assert "Status: MAINT" in ctl("-c", "servers", "-b", "back")
    assert ctl("-c", "enable", "-b", "back", "-s", "s1") == ""
    assert "Status: no check" in ctl("-c", "servers", "-b", "back")
    assert ctl("-c", "get-weight", "-b", "back", "-s", "zz") == "No such server."
