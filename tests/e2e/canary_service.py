"""A service that answers as its folder says: `mode` names how, `asked` grows by one byte a question, `most` by one where a
second question was open beside the first. usage: canary_service.py PORT FOLDER"""

import os
import select
import signal
import socket
import sys
import threading
from pathlib import Path

PORT, FOLDER = int(sys.argv[1]), Path(sys.argv[2])
RIGHT = b'{"job": %d, "ok": true, "measures": {"heart": 0.41}, "report": "normal"}'
WRONG = b'{"job": %d, "ok": true, "measures": {"heart": 0.593176401}, "report": "Doe, John"}'
MIB = b"x" * (1 << 20)

listener = socket.create_server(("127.0.0.1", PORT))
asked = os.open(FOLDER / "asked", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
most = os.open(FOLDER / "most", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
lock = threading.Lock()
jobs = 0
opened = 0


def mode():
    return (FOLDER / "mode").read_text()


def whole(status, body):
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\nContent-Type: application/json\r\n\r\n" % (status, len(body)) + body


def read_request(client):
    data = b""
    while b"\r\n\r\n" not in data:
        part = client.recv(65536)
        if not part:
            return None
        data += part
    head, body = data.split(b"\r\n\r\n", 1)
    length = next((int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
    while len(body) < length:
        part = client.recv(65536)
        if not part:
            return None
        body += part
    return head, body


def leaves_within(client, seconds):
    """Its request was read to the end: what can still come is its close."""
    return bool(select.select([client], [], [], seconds)[0])


def answer(client, head, body, job):
    how = mode()
    if how == "right":
        client.sendall(whole(200, RIGHT % job))
    elif how == "wrong":
        client.sendall(whole(200, WRONG % job))
    elif how == "echo":
        client.sendall(whole(200, body))
    elif how.isdigit():
        client.sendall(whole(int(how), b"{}"))
    elif how == "garbage":
        client.sendall(bytes(range(256)) * 64)
    elif how == "closed":
        pass
    elif how == "interim":
        client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    elif how == "hints":
        client.sendall(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + whole(200, RIGHT % job))
    elif how == "half":
        client.sendall(whole(200, RIGHT % job)[:-5])
    elif how == "endless-header":
        for number in range(1 << 20):
            client.sendall(b"HTTP/1.1 200 OK\r\n" if number == 0 else b"X-%d: y\r\n" % number)
    elif how in ("huge", "huge-chunked"):
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n\r\n" if how == "huge" else
                       b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(100):
            client.sendall(MIB if how == "huge" else b"100000\r\n" + MIB + b"\r\n")
    elif how == "drip":
        for byte in whole(200, b" " * 3600):
            client.sendall(bytes([byte]))
            if leaves_within(client, 0.05) or mode() != "drip":
                return
    elif how == "silent":
        while mode() == "silent":
            if leaves_within(client, 0.05):
                return
        client.sendall(whole(200, RIGHT % job))


def serve(client):
    global jobs, opened
    with client:
        try:
            request = read_request(client)
            if request is None:
                return
            head, body = request
            if head.startswith(b"GET /health "):
                client.sendall(whole(200, b"ok"))
                return
            with lock:
                jobs += 1
                opened += 1
                job = jobs
                os.write(asked, b".")
                if opened > 1:
                    os.write(most, b"!")
            try:
                answer(client, head, body, job)
            finally:
                with lock:
                    opened -= 1
        except OSError:
            pass


print("listening", flush=True)
listener.settimeout(0.05)  # then it looks whether it is to listen no more
while mode() != "deaf":
    try:
        client = listener.accept()[0]
    except TimeoutError:
        continue
    threading.Thread(target=serve, args=(client,), daemon=True).start()
listener.close()
while True:
    signal.pause()
