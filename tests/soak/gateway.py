#!/usr/bin/env python3
"""A million films through the gateway: every report has to come back to who sent the film, and none may be made twice.

usage: gateway.py [--films N] [--seed N]

Clients leave at random, replicas die and come back, the gateway is killed and started again. Runs on loopback. Prints the
seed; exit 1 at the first wrong answer or when something stays behind.
"""

import argparse
import random
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))
import test_gateway_load as load  # noqa: E402
from gateway_peers import DOWN, READY, Gateway, Upstream, milliseconds  # noqa: E402
from gpuward import wait_for  # noqa: E402

CLIENTS = 20
QUEUE = (3, [(5, 0), (6, 16), (2, [(1, 200), (2, 1 << 30), (3, milliseconds(600_000))])])


def trouble(gateway: Gateway, upstreams: list, over: threading.Event, chance: random.Random, told: dict):
    """Each second: a replica goes and comes back, now and then the gateway itself."""
    while not over.wait(1):
        if chance.random() < 0.2:
            gateway.process.kill()
            gateway.process.wait()
            gateway.start()
            told["gateway killed"] += 1
            continue
        gone = chance.randrange(len(upstreams))
        gateway.tell(*[(u.address, DOWN if n == gone else READY) for n, u in enumerate(upstreams)])
        told["replica gone"] += 1
        over.wait(0.2)
        gateway.tell(*[(u.address, READY) for u in upstreams])


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--films", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    options = parser.parse_args()
    print(f"seed {options.seed}, {options.films} films, {CLIENTS} clients", flush=True)
    load.SEED = options.seed
    film = load.Film()
    upstreams = [Upstream() for _ in range(3)]
    for upstream in upstreams:
        upstream.answers["/film"] = film
    troubles = {"gateway killed": 0, "replica gone": 0}
    told = [dict.fromkeys(("answered", "refused", "left", "cut", "swapped"), 0) for _ in range(CLIENTS)]
    over = threading.Event()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        gateway = Gateway(Path(folder), [(u.address, READY) for u in upstreams], [QUEUE])
        clients = [threading.Thread(target=load.films, args=(gateway.address, n, options.films // CLIENTS, told[n])) for n in range(CLIENTS)]
        meddler = threading.Thread(target=trouble, args=(gateway, upstreams, over, random.Random(options.seed), troubles))
        try:
            for thread in (*clients, meddler):
                thread.start()
            while any(client.is_alive() for client in clients):
                clients[0].join(10) if clients[0].is_alive() else time.sleep(1)
                # What is done is not needed any more, but for films that are done twice.
                for upstream in upstreams:
                    upstream.seen.clear()
                print(f"{sum(sum(one.values()) for one in told)} films, {time.monotonic() - began:.0f} s", flush=True)
            over.set()
            meddler.join()
            gateway.idle()
            wait_for(lambda: gateway.status()["clients"] == 0, 20, "all have left")
        finally:
            over.set()
            gateway.stop()
            for upstream in upstreams:
                upstream.stop()
    total = {key: sum(one[key] for one in told) for key in told[0]}
    twice = sum(1 for count in film.done.values() if count > 1)
    print(total, troubles, f"worked on twice: {twice}")
    return 1 if total["swapped"] or twice or sum(total.values()) != options.films // CLIENTS * CLIENTS else 0


if __name__ == "__main__":
    sys.exit(main())
