"""haproxyadmin, unmodified, sees and changes what runs; exits with 77 where it is not installed."""

import sys

try:
    from haproxyadmin import haproxy
except ImportError:
    sys.exit(77)

hap = haproxy.HAProxy(socket_file=sys.argv[1])
assert [frontend.name for frontend in hap.frontends()] == ["f"]
assert [backend.name for backend in hap.backends()] == ["b"]
assert hap.uptime and hap.releasedate and int(hap.maxconn) > 0
assert hap.description.startswith("lb ")
server = hap.server("s1", backend="b")[0]
assert server.setstate("drain") and server.status == "DRAIN", server.status
assert server.setstate("maint") and server.status == "MAINT", server.status
assert server.setstate("ready") and server.status == "no check", server.status
assert server.setweight(33) and int(server.weight) == 33
assert server.setweight("50%") and int(server.weight) == 5
address, port = server.address, server.port
server.port = 4711
assert int(server.port) == 4711
server.port = port
assert (server.address, server.port) == (address, port)
frontend = hap.frontend("f")
assert frontend.disable() and frontend.status == "PAUSED"
assert frontend.enable() and frontend.status == "OPEN"
assert frontend.setmaxconn(55) and int(frontend.maxconn) == 55
assert hap.setmaxconn(20) and int(hap.maxconn) == 20
assert hap.clearcounters() and hap.clearcounters(all=True)
assert hap.show_map() and hap.show_acl()
assert hap.errors()
