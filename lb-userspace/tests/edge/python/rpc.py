"""gRPC with its own Python library: `server PORT`, or `client TARGET` with the calls that a proxy can spoil.

Messages are plain bytes, so that nothing need be generated."""

import queue
import sys
import threading
import time
from concurrent import futures

import grpc

ended = []  # how calls that only end by being cancelled have ended, by their name


def unary(request, context):
    if request == b"missing":
        context.abort(grpc.StatusCode.NOT_FOUND, "no such thing: \u00e4")
    if request == b"ended?":
        return b" ".join(ended)
    context.set_trailing_metadata((("x-trailer", "t"), ("x-raw-bin", b"\0\1")))
    return request


def count(request, context):
    for n in range(int(request)):
        yield b"%d" % n
    if request == b"2":
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "enough")
    if request == b"3":
        context.cancel()


def forever(request, context):
    context.add_callback(lambda: ended.append(request))
    yield b"begun"
    while context.is_active():
        time.sleep(0.01)


def total(requests, context):
    return b"%d" % sum(len(request) for request in requests)


def talk(requests, context):
    for request in requests:
        yield b"got " + request
    yield b"end"


class Calls(grpc.GenericRpcHandler):
    def service(self, details):
        kinds = {
            "/lb.Test/Unary": grpc.unary_unary_rpc_method_handler(unary),
            "/lb.Test/Count": grpc.unary_stream_rpc_method_handler(count),
            "/lb.Test/Forever": grpc.unary_stream_rpc_method_handler(forever),
            "/lb.Test/Total": grpc.stream_unary_rpc_method_handler(total),
            "/lb.Test/Talk": grpc.stream_stream_rpc_method_handler(talk),
        }
        return kinds.get(details.method)


SIZES = [("grpc.max_receive_message_length", 16 << 20), ("grpc.so_reuseport", 0)]


def serve(port):
    server = grpc.server(futures.ThreadPoolExecutor(20), (Calls(),), options=SIZES)
    assert server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    sys.stdin.read()
    server.stop(None)


def failure(call):
    try:
        call()
    except grpc.RpcError as error:
        return error.code(), error.details()
    raise AssertionError("it did not fail")


def client(target):
    options = SIZES + [("grpc.enable_http_proxy", 0)]
    channel = grpc.insecure_channel(target, options=options)
    ask = channel.unary_unary("/lb.Test/Unary")
    counted = channel.unary_stream("/lb.Test/Count")
    endless = channel.unary_stream("/lb.Test/Forever")

    answer, call = ask.with_call(b"x", timeout=30, wait_for_ready=True)
    trailers = dict(call.trailing_metadata())
    assert answer == b"x", answer
    assert trailers["x-trailer"] == "t" and trailers["x-raw-bin"] == b"\0\1", trailers
    big = bytes(3 << 20)
    assert ask(big, timeout=30) == big
    code, details = failure(lambda: ask(b"missing", timeout=30))
    assert (code, details) == (grpc.StatusCode.NOT_FOUND, "no such thing: \u00e4"), (code, details)
    code, _ = failure(lambda: channel.unary_unary("/lb.Test/None")(b"", timeout=30))
    assert code == grpc.StatusCode.UNIMPLEMENTED, code

    assert list(counted(b"1000", timeout=30)) == [b"%d" % n for n in range(1000)]
    # The server breaks off after two, or takes the call back after three.
    for most, wanted in ((2, grpc.StatusCode.RESOURCE_EXHAUSTED), (3, grpc.StatusCode.CANCELLED)):
        got = []
        code, _ = failure(lambda: [got.append(n) for n in counted(b"%d" % most, timeout=30)])
        assert code == wanted, (most, code)
        assert most != 2 or len(got) == 2, got

    summed = channel.stream_unary("/lb.Test/Total")
    assert summed((bytes(n) for n in range(1000)), timeout=30) == b"499500"

    # Each waits for the other: nobody on the way may wait for more.
    say = queue.Queue()
    talk = channel.stream_stream("/lb.Test/Talk")(iter(say.get, None), timeout=30)
    for n in range(50):
        say.put(b"%d" % n)
        assert next(talk) == b"got %d" % n
    say.put(None)
    assert next(talk) == b"end" and list(talk) == []
    assert talk.code() == grpc.StatusCode.OK

    # What the client gives up, the server learns.
    call = endless(b"cancelled", timeout=30)
    assert next(call) == b"begun"
    call.cancel()
    call = endless(b"late", timeout=0.5)
    code, _ = failure(lambda: list(call))
    assert code == grpc.StatusCode.DEADLINE_EXCEEDED, code
    deadline = time.monotonic() + 20
    while set(ask(b"ended?", timeout=30).split()) != {b"cancelled", b"late"}:
        assert time.monotonic() < deadline, "the server was not told"
        time.sleep(0.02)

    # Many at a time by one connection.
    calls = [ask.future(b"%d" % n, timeout=30) for n in range(300)]
    assert [call.result() for call in calls] == [b"%d" % n for n in range(300)]
    threads = [threading.Thread(target=lambda: list(counted(b"200", timeout=30))) for _ in range(10)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    channel.close()
    print("done")


{"server": serve, "client": client}[sys.argv[1]](sys.argv[2])
