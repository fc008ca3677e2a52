"""Whether threads that are bound to a core each are faster than free ones: alone, beside a program that keeps one core
busy, and where two processes of one thread have chosen the same core.

    pinning.py BUILD      two cores, models of make bench; run it under chrt -r 50 on a machine with other work

Bound and free take turns in one process; the ratio is that of neighbouring runs.
"""
import os
import statistics
import subprocess
import sys

RUNS = 8
BUILD = sys.argv[1]
CORES = sorted(os.sched_getaffinity(0))[:2]
WHAT = (("32 codes", "decode 1 0 32"), ("prompt of 128", "prefill 128"), ("codec, 81 frames", "codec 81 1"))


class Worker:
    def __init__(self, threads):
        models = f"{BUILD}/bench-models"
        self.program = subprocess.Popen(
            [f"{BUILD}/bench/bench_worker", f"{models}/air-q4_0.gguf", f"{models}/neucodec-f16.gguf", str(threads)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.ask("decode 1 0 1")

    def send(self, command):
        self.program.stdin.write(command + "\n")
        self.program.stdin.flush()

    def answer(self):
        return float(self.program.stdout.readline().split()[1])

    def ask(self, command):
        self.send(command)
        return self.answer()

    def threads(self):
        """Those that work most first."""
        folder = f"/proc/{self.program.pid}/task"

        def worked(thread):
            fields = open(f"{folder}/{thread}/stat").read().rsplit(")", 1)[1].split()
            return int(fields[11]) + int(fields[12])

        return sorted(map(int, os.listdir(folder)), key=worked, reverse=True)

    def bind(self, cores):
        """Thread i to the i-th of the cores; None: all of them to all."""
        for i, thread in enumerate(self.threads()):
            os.sched_setaffinity(thread, {cores[i % len(cores)]} if cores else CORES)

    def close(self):
        self.program.stdin.close()
        self.program.wait()


def tell(where, what, free, bound):
    ratios = sorted(b / f for f, b in zip(free, bound))
    print(f"{where:42} {what:18} free {statistics.median(free) * 1e3:7.1f} ms  bound {statistics.median(bound) * 1e3:7.1f} ms  "
          f"{statistics.median(ratios):5.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f}) times as long", flush=True)


def take_turns(where, what, once):
    times = {False: [], True: []}
    for run in range(-1, RUNS):
        for bound in times:
            seconds = once(bound)
            if run >= 0:
                times[bound].append(seconds)
    tell(where, what, times[False], times[True])


def one_process(where):
    worker = Worker(2)
    for what, command in WHAT:
        def once(bound):
            worker.bind(CORES if bound else None)
            return worker.ask(command)
        take_turns(where, what, once)
    worker.close()


def two_processes():
    workers = [Worker(1), Worker(1)]
    for what, command in WHAT:
        def once(bound):
            for worker in workers:
                worker.bind(CORES[:1] if bound else None)
            for worker in workers:
                worker.send(command)
            return max(worker.answer() for worker in workers)
        take_turns("two processes of a thread, the same core", what, once)
    for worker in workers:
        worker.close()


one_process("one process of two threads, alone")
busy = subprocess.Popen(["sh", "-c", "while :; do :; done"])
one_process("the same beside a busy program")
busy.kill()
busy.wait()
two_processes()
