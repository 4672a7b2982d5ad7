"""gRPC by grpcio: a server of calls of every kind, and a client that makes them all.

Usage: rpc.py serve PORT, or rpc.py client TARGET CA SECONDS (no CA: plain), where one stream is silent for so long.
"""

import concurrent.futures
import sys
import threading
import time

import grpc

SERVICE = "towpath.Test"
# Calls that ended before they were done, by name.
CANCELLED = {}
CHANGED = threading.Condition()
PATIENCE = 30


def unary(request, context):
    context.send_initial_metadata((("x-begin", "here"),))
    context.set_trailing_metadata((("x-end", "there"), ("x-bytes-bin", b"\x00\xff\x80")))
    return request


def down(request, _context):
    for number in range(int(request)):
        yield b"%d" % number


def up(requests, _context):
    return b"%d" % sum(len(request) for request in requests)


def both(requests, _context):
    yield from requests


def fail(_request, context):
    context.set_trailing_metadata((("x-detail", "nothing to see"),))
    context.abort(grpc.StatusCode.NOT_FOUND, "nothing here, not even é")


def fail_late(_request, context):
    yield b"one"
    yield b"two"
    context.abort(grpc.StatusCode.DATA_LOSS, "the rest is lost")


def hang(request, context):
    """Answers nothing until the client has gone."""
    gone = threading.Event()
    context.add_callback(gone.set)
    yield b"begun"
    gone.wait(PATIENCE)
    with CHANGED:
        CANCELLED[request] = gone.is_set()
        CHANGED.notify_all()


def was_cancelled(request, _context):
    with CHANGED:
        CHANGED.wait_for(lambda: request in CANCELLED, PATIENCE)
        return b"yes" if CANCELLED.get(request) else b"no"


def serve(port):
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(32))
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Down": grpc.unary_stream_rpc_method_handler(down),
        "Up": grpc.stream_unary_rpc_method_handler(up),
        "Both": grpc.stream_stream_rpc_method_handler(both),
        "Fail": grpc.unary_unary_rpc_method_handler(fail),
        "FailLate": grpc.unary_stream_rpc_method_handler(fail_late),
        "Hang": grpc.unary_stream_rpc_method_handler(hang),
        "WasCancelled": grpc.unary_unary_rpc_method_handler(was_cancelled),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    server.wait_for_termination()


class Client:
    def __init__(self, target, ca):
        options = (("grpc.enable_retries", 0),)
        if ca:
            with open(ca, "rb") as file:
                self.channel = grpc.secure_channel(target, grpc.ssl_channel_credentials(file.read()), options)
        else:
            self.channel = grpc.insecure_channel(target, options)

    def __getattr__(self, name):
        kinds = {
            "Unary": self.channel.unary_unary,
            "Fail": self.channel.unary_unary,
            "WasCancelled": self.channel.unary_unary,
            "Up": self.channel.stream_unary,
            "Both": self.channel.stream_stream,
        }
        return kinds.get(name, self.channel.unary_stream)(f"/{SERVICE}/{name}")


def check_unary(client):
    answer, call = client.Unary.with_call(b"hello", timeout=PATIENCE)
    begin, end = dict(call.initial_metadata()), dict(call.trailing_metadata())
    assert answer == b"hello" and begin["x-begin"] == "here", begin
    assert end["x-end"] == "there" and end["x-bytes-bin"] == b"\x00\xff\x80", end
    assert client.Unary(b"", timeout=PATIENCE) == b""
    large = bytes(3_000_000)
    assert client.Unary(large, timeout=PATIENCE) == large
    calls = [client.Unary.future(b"%d" % number, timeout=PATIENCE) for number in range(300)]
    assert [call.result() for call in calls] == [b"%d" % number for number in range(300)]


def check_streams(client, silence):
    got = list(client.Down(b"2000", timeout=PATIENCE))
    assert got == [b"%d" % number for number in range(2000)], len(got)
    assert client.Up((bytes(10_000) for _ in range(300)), timeout=PATIENCE) == b"3000000"
    asked, told = threading.Semaphore(0), []

    def requests():
        for number in range(100):
            asked.acquire(timeout=PATIENCE)
            yield b"%d" % number
            if number == 50:
                time.sleep(silence)

    answers = client.Both(requests(), timeout=PATIENCE + 2 * silence)
    # Each is sent only when the one before it has come back.
    for _ in range(100):
        asked.release()
        told.append(next(answers))
    assert told == [b"%d" % number for number in range(100)], told
    assert next(answers, None) is None and answers.code() == grpc.StatusCode.OK


def check_faults(client):
    try:
        client.Fail(b"", timeout=PATIENCE)
        raise AssertionError("no fault")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.NOT_FOUND, error
        assert error.details() == "nothing here, not even é", error
        assert dict(error.trailing_metadata())["x-detail"] == "nothing to see", error
    got = []
    try:
        for answer in client.FailLate(b"", timeout=PATIENCE):
            got.append(answer)
        raise AssertionError("no fault")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.DATA_LOSS and got == [b"one", b"two"], (error, got)
    try:
        list(client.Missing(b"", timeout=PATIENCE))
        raise AssertionError("no fault")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.UNIMPLEMENTED, error


def check_ends(client):
    """A deadline and a cancellation reach the server."""
    call = client.Hang(b"deadline", timeout=1)
    assert next(call) == b"begun"
    try:
        next(call)
        raise AssertionError("no end")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error
    assert client.WasCancelled(b"deadline", timeout=2 * PATIENCE) == b"yes"
    call = client.Hang(b"cancel", timeout=2 * PATIENCE)
    assert next(call) == b"begun"
    call.cancel()
    assert call.code() == grpc.StatusCode.CANCELLED, call
    assert client.WasCancelled(b"cancel", timeout=2 * PATIENCE) == b"yes"


def client(target, ca, silence):
    made = Client(target, ca)
    check_unary(made)
    check_streams(made, float(silence))
    check_faults(made)
    check_ends(made)
    print("all well")


def status(target, ca):
    """What becomes of one call."""
    try:
        Client(target, ca).Unary(b"hello", timeout=PATIENCE)
        print("OK")
    except grpc.RpcError as error:
        print(error.code().name)


globals()[sys.argv[1]](*sys.argv[2:])
