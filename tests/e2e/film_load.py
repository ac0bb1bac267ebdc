"""Clients of the bundled X-ray service."""

import http.client
import threading
import time

from gpuward import ROOT, wait_for

FILM = ROOT / "tests/films/nih_00000003_000.png"


class Load:
    """One client after the other with the same film, until the block ends."""

    def __init__(self, ward, name="xray"):
        self.ward, self.name, self.answers, self.over = ward, name, [], threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        endpoint = self.ward.service(self.name)["replicas"][0]["endpoint"].split(":")
        while not self.over.is_set():
            connection = http.client.HTTPConnection(endpoint[0], int(endpoint[1]), timeout=20)
            try:
                connection.request("POST", "/analyze", FILM.read_bytes())
                self.answers.append(connection.getresponse().status)
            except OSError:
                self.answers.append(0)
            finally:
                connection.close()

    def __enter__(self):
        self.thread.start()
        wait_for(lambda: 200 in self.answers, why="a film was reported on")
        self.wait_for_a_look()
        return self

    def wait_for_a_look(self):
        """Whoever began in the very tick of a look is known for certain from the next on."""
        began = time.monotonic()

        def is_later():
            asked = time.monotonic()
            return self.ward.status()["gpus"][0]["age_seconds"] < asked - began

        wait_for(is_later, why="the cards are looked at again")

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()
