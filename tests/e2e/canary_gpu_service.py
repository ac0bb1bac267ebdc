"""A service whose answer comes through the memory of a card: what is posted goes there, comes back, and is summed up.
usage: canary_gpu_service.py PORT"""

import ctypes
import json
import sys
import zlib
from http.server import BaseHTTPRequestHandler, HTTPServer

cuda = ctypes.CDLL("libcuda.so.1")
memory = ctypes.c_uint64()
MOST = 1 << 20


def call(name, *arguments):
    code = getattr(cuda, name)(*arguments)
    assert code == 0, (name, code)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer({"status": "ok"})

    def do_POST(self):
        film = self.rfile.read(int(self.headers["Content-Length"]))
        back = ctypes.create_string_buffer(len(film))
        call("cuMemcpyHtoD_v2", memory, film, ctypes.c_size_t(len(film)))
        call("cuMemcpyDtoH_v2", back, memory, ctypes.c_size_t(len(film)))
        self.answer({"bytes": len(film), "sum": zlib.crc32(back.raw)})

    def answer(self, value):
        text = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


context = ctypes.c_void_p()
call("cuInit", 0)
call("cuDevicePrimaryCtxRetain", ctypes.byref(context), 0)
call("cuCtxSetCurrent", context)
call("cuMemAlloc_v2", ctypes.byref(memory), ctypes.c_size_t(MOST))
HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
