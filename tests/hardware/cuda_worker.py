"""A process that holds a CUDA context, led line by line over its standard input: what the hardware marks look at.

Every answer is one JSON line. It speaks the driver API alone, found by its library's name, so that it runs on a machine
without PyTorch and on the simulated GPU. Commands: open [FLAGS], alloc BYTES, run COUNT NS, loop NS
(until it is ended), fault, fork, exit.
"""

import ctypes
import json
import os
import sys
import time

# The comment is what the simulated GPU goes by; a real compiler passes over it.
SPIN = b"""
.version 6.0
.target sm_50
.address_size 64
// gpusim: spin ns=param0
.visible .entry spin(.param .u64 ns)
{
  .reg .u64 %rd<4>;
  .reg .pred %p<2>;
  ld.param.u64 %rd1, [ns];
  mov.u64 %rd2, %globaltimer;
AGAIN:
  mov.u64 %rd3, %globaltimer;
  sub.u64 %rd3, %rd3, %rd2;
  setp.lt.u64 %p1, %rd3, %rd1;
  @%p1 bra AGAIN;
  ret;
}
// gpusim: wild ns=1000
.visible .entry wild(.param .u64 unused)
{
  .reg .u64 %rd<2>;
  mov.u64 %rd1, 8;
  st.global.u64 [%rd1], %rd1;
  ret;
}
"""


class Driver:
    def __init__(self):
        self.lib = ctypes.CDLL("libcuda.so.1")
        self.kernels = {}
        self.module = ctypes.c_void_p()

    def call(self, name: str, *words) -> int:
        return getattr(self.lib, name)(*words)

    def must(self, name: str, *words):
        code = self.call(name, *words)
        if code != 0:
            raise OSError(f"{name}: code {code}")

    def open(self, flags: int) -> dict:
        device, context = ctypes.c_int(), ctypes.c_void_p()
        began = time.monotonic()
        self.must("cuInit", 0)
        self.must("cuDeviceGet", ctypes.byref(device), 0)
        self.must("cuDevicePrimaryCtxSetFlags_v2", device, flags)
        self.must("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self.must("cuCtxSetCurrent", context)
        took = time.monotonic() - began
        self.must("cuModuleLoadData", ctypes.byref(self.module), SPIN)
        for name in ("spin", "wild"):
            function = ctypes.c_void_p()
            self.must("cuModuleGetFunction", ctypes.byref(function), self.module, name.encode())
            self.kernels[name] = function
        return {"seconds": took}

    def alloc(self, count: int) -> dict:
        at = ctypes.c_uint64()
        self.must("cuMemAlloc_v2", ctypes.byref(at), ctypes.c_size_t(count))
        return {}

    def launch(self, name: str, value: int) -> int:
        word = ctypes.c_uint64(value)
        words = (ctypes.c_void_p * 1)(ctypes.cast(ctypes.pointer(word), ctypes.c_void_p))
        return self.call("cuLaunchKernel", self.kernels[name], 1, 1, 1, 1, 1, 1, 0, None, words, None)

    def run(self, count: int, ns: int) -> dict:
        began, cpu = time.monotonic(), time.process_time()
        code = 0
        for _ in range(count):
            code = code or self.launch("spin", ns)
        launched = time.monotonic() - began
        code = code or self.call("cuCtxSynchronize")
        return {"code": code, "launch_seconds": launched, "seconds": time.monotonic() - began,
                "cpu_seconds": time.process_time() - cpu}

    def loop(self, ns: int):
        """Kernel after kernel, each waited for: what is submitted and not yet done is one kernel at most."""
        while self.run(1, ns)["code"] == 0:
            pass

    def fault(self) -> dict:
        """Writes where nothing is; then asks twice more, to see whether the context is ever well again."""
        first = self.launch("wild", 0) or self.call("cuCtxSynchronize")
        again = [self.call("cuCtxSynchronize") for _ in range(2)]
        at = ctypes.c_uint64()
        return {"code": first, "again": again, "alloc": self.call("cuMemAlloc_v2", ctypes.byref(at), ctypes.c_size_t(4096))}


def fork_and_stay() -> dict:
    """A child that does nothing but live on, as a data loader does."""
    child = os.fork()
    if child == 0:
        os.setsid()
        time.sleep(600)
        os._exit(0)
    return {"child": child}


def main():
    driver = Driver()
    for line in sys.stdin:
        word, *rest = line.split()
        try:
            match word:
                case "open": answer = driver.open(int(rest[0]) if rest else 0)
                case "alloc": answer = driver.alloc(int(rest[0]))
                case "run": answer = driver.run(int(rest[0]), int(rest[1]))
                case "loop": answer = driver.loop(int(rest[0]))
                case "fault": answer = driver.fault()
                case "fork": answer = fork_and_stay()
                case "exit": return
                case _: answer = {"error": f"no such command: {word}"}
        except (OSError, AttributeError) as problem:
            answer = {"error": str(problem)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
