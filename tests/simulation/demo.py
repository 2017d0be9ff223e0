#!/usr/bin/python3
"""The demonstration: a Fortran solver, watched by anomalyd, meets flipped bits and goes back.

1. An undisturbed run, watched: every alarm would be a false one.
2. The same run with one flipped bit, step by step: verdicts, the rewind, and whether its final state equals that of 1 bit for bit.
3. Other initial states with other flipped bits (--seeds in all), each beside its undisturbed twin: a table and its totals.

Exit codes: 0 no miss, no false alarm, all final states equal; 1 otherwise; 2 something could not be run.
"""

import argparse
import concurrent.futures
import contextlib
import dataclasses
import os
import pathlib
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

STEP = re.compile(r"step +(\d+) .*cycle +\d+ +(\w+) +score +(\S+) +threshold +(\S+) +waited +(\S+) ms")
FLIP = re.compile(r"flip: on the way to step (\d+), cycle \d+, zone \((\d+), (\d+)\), (\w+), bit (\d+): +(\S+) -> +(\S+)")
COLLAPSE = re.compile(r"alarm: the time step has collapsed on the way to step (\d+)")
REWIND = re.compile(r"rewind: from step (\d+) to the checkpoint of step (\d+)")
# Images that a run needs before its verdicts begin; after that, "unknown" means that an image was not judged.
WARM_UP = 20
START_TIMEOUT_S = 20
RUN_TIMEOUT_S = 300


class CannotRun(Exception):
    """Something that the demonstration needs does not work."""


@dataclasses.dataclass
class Run:
    """What one run of the solver said."""

    directory: pathlib.Path
    flip: tuple = ()
    flip_line: int = -1
    alarms: list = dataclasses.field(default_factory=list)
    rewinds: list = dataclasses.field(default_factory=list)
    # ("flip" | "alarm" | "rewind" | "collapse", step), in their order.
    events: list = dataclasses.field(default_factory=list)
    waited_ms: list = dataclasses.field(default_factory=list)
    n_judged: int = 0
    n_unjudged: int = 0
    seconds: float = 0.0

    def read(self, number, line):
        if match := STEP.match(line):
            step, label = int(match[1]), match[2]
            self.waited_ms.append(float(match[5]))
            self.n_judged += label != "unknown"
            self.n_unjudged += label == "unknown" and step > WARM_UP
            if label == "anomalous":
                self.alarms.append((number, step))
                self.events.append(("alarm", step))
        elif match := FLIP.match(line):
            self.flip, self.flip_line = match.groups(), number
            self.events.append(("flip", int(match[1])))
        elif match := REWIND.match(line):
            self.rewinds.append((int(match[1]), int(match[2])))
            self.events.append(("rewind", int(match[2])))
        elif match := COLLAPSE.match(line):
            self.events.append(("collapse", int(match[1])))

    @property
    def caught(self):
        """Step of the first alarm after the fault happened, or None."""
        return next((step for number, step in self.alarms if self.flip and number > self.flip_line), None)

    @property
    def n_false(self):
        """Alarms that no fault was the reason of: all but the one that caught it."""
        return len(self.alarms) - (self.caught is not None)


@contextlib.contextmanager
def daemon(binary, directory):
    """Runs `anomalyd serve`; gives the environment that tells clients where it is."""
    runtime = directory / "run"
    endpoint = runtime / "endpoint"
    # Nothing from outside: the demonstration shows the defaults.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANOMALYD_")}
    command = [binary, "serve", "--runtime-dir", runtime, "--roots", directory, "--workers", "2"]
    with open(directory / "daemon.log", "wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not endpoint.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise CannotRun("the daemon did not start:\n" + (directory / "daemon.log").read_text(errors="replace"))
            time.sleep(0.02)
        print(f"daemon: pid {process.pid}, endpoint file {endpoint}")
        yield environment | {"ANOMALYD_ENDPOINT_FILE": str(endpoint)}
        if process.poll() is not None:
            raise CannotRun("the daemon ended early:\n" + (directory / "daemon.log").read_text(errors="replace"))
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def simulate(program, directory, environment, seed, flip_seed, echo=False, keep=False, more=(), watched=True):
    """One run of the solver; `more` are further parameters."""
    run = Run(directory)
    command = [program / "simulation", f"directory='{directory}'", f"name='{directory.name}'", f"seed={seed}"]
    command += [f"flip_seed={flip_seed}", f"keep_images={'T' if keep else 'F'}", *more]
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
    last = ""
    try:
        for number, line in enumerate(process.stdout):
            last = line.rstrip()
            if watched and last.startswith("watch: off"):
                raise CannotRun(last)
            run.read(number, last)
            if echo:
                print("  " + last, flush=True)
            if time.monotonic() - began > RUN_TIMEOUT_S:
                raise CannotRun(f"{directory.name} took longer than {RUN_TIMEOUT_S} s")
        if process.wait() != 0:
            raise CannotRun(f"{directory.name} ended with code {process.returncode}: {last}")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    run.seconds = time.monotonic() - began
    return run


def equal(program, a, b):
    """Whether two final states are equal bit for bit, as the solver's own program tells."""
    files = [a.directory / "final.bin", b.directory / "final.bin"]
    result = subprocess.run([program / "compare_states", *files], capture_output=True, text=True)
    if result.returncode > 1:
        raise CannotRun(result.stderr.strip())
    return result.returncode == 0, result.stdout.strip()


def describe(run):
    """The fault, for the table."""
    _, i, j, variable, bit, before, after = run.flip
    return f"({i:>3}, {j:>3}) {variable:<8}{bit:>3}  {float(before):>10.3e} -> {float(after):<10.3e}"


HEAD = (f"{'seed':>4}  {'zone':<10} {'of':<8}bit  {'value before':>10} -> {'after':<10} {'flip':>5} {'alarm':>6} {'delay':>6} "
        f"{'back to':>8} {'false alarms':>13} {'twin':>5}  final state")


def row(seed, twin, run, same):
    caught = run.caught
    alarm, delay = ("miss", "") if caught is None else (caught, caught - int(run.flip[0]))
    back = run.rewinds[0][1] if run.rewinds else ""
    return (f"{seed:>4}  {describe(run)} {run.flip[0]:>5} {alarm:>6} {delay:>6} {back:>8} {run.n_false:>13} {len(twin.alarms):>5}  "
            f"{'equal' if same else 'DIFFERENT'}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--daemon", required=True, type=pathlib.Path, help="the binary anomalyd")
    parser.add_argument("--simulation", required=True, type=pathlib.Path, help="directory of simulation and compare_states")
    parser.add_argument("--seeds", type=int, default=20, help="flipped bits to try (default 20)")
    parser.add_argument("--first-seed", type=int, default=1, help="number of the first (default 1)")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="runs at the same time")
    parser.add_argument("--keep", type=pathlib.Path, help="keep images, checkpoints and the daemon's log in this new directory")
    arguments = parser.parse_args()
    program = arguments.simulation.resolve()
    with contextlib.ExitStack() as stack:
        if arguments.keep:
            directory = arguments.keep.resolve()
            directory.mkdir(parents=True)
        else:
            # A socket's path may have 107 bytes: not below a directory that the user's TMPDIR may have made long.
            directory = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="anomalyd-demo-", dir="/tmp")))
        environment = stack.enter_context(daemon(arguments.daemon.resolve(), directory))
        return demonstrate(program, directory, environment, arguments)


def demonstrate(program, directory, environment, arguments):
    began = time.monotonic()
    first = arguments.first_seed
    keep = arguments.keep is not None
    print(f"\n1. The undisturbed run, watched (initial state {first})")
    twin = simulate(program, directory / f"twin-{first}", environment, first, 0, keep=keep)
    print(f"   {twin.n_judged} images judged, {len(twin.alarms)} false alarms, {twin.seconds:.1f} s", flush=True)

    print("\n2. The same run with a flipped bit, step by step")
    run = simulate(program, directory / f"flip-{first}", environment, first, first, echo=True, keep=keep)
    same, words = equal(program, twin, run)
    print(f"   final state and that of the undisturbed run: {words}")
    if keep:
        print(f"   images: {run.directory}/entropy_*.png, that of the alarm: alarm_*.png")

    print(f"\n3. {arguments.seeds} initial states, each undisturbed and with a flipped bit of its own\n\n{HEAD}")
    results = [(first, twin, run, same)]
    print(row(*results[0]), flush=True)

    def pair(seed):
        twin = simulate(program, directory / f"twin-{seed}", environment, seed, 0)
        run = simulate(program, directory / f"flip-{seed}", environment, seed, seed)
        same, _ = equal(program, twin, run)
        if not keep:
            shutil.rmtree(twin.directory)
            shutil.rmtree(run.directory)
        return seed, twin, run, same

    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        for result in pool.map(pair, range(first + 1, first + arguments.seeds)):
            results.append(result)
            print(row(*result), flush=True)
    return sum_up(results, time.monotonic() - began)


def sum_up(results, seconds):
    twins, runs = [twin for _, twin, _, _ in results], [run for _, _, run, _ in results]
    misses = sum(run.caught is None for run in runs)
    false_alarms = sum(len(twin.alarms) for twin in twins) + sum(run.n_false for run in runs)
    different = sum(not same for *_, same in results)
    judged = sum(run.n_judged for run in twins + runs)
    unjudged = sum(run.n_unjudged for run in twins + runs)
    delays = [run.caught - int(run.flip[0]) for run in runs if run.caught is not None]
    waited = sorted(time for run in twins + runs for time in run.waited_ms)
    print(f"\n{len(runs)} flipped bits: {misses} missed, {len(delays)} caught, {delays.count(0)} of them in their first image, "
          f"longest delay {max(delays, default=0)} images")
    print(f"{judged} images judged: {false_alarms} false alarms; {unjudged} images after the warm-up without a verdict")
    print(f"final states that differ from the undisturbed run: {different} of {len(runs)}")
    print(f"time waited for a verdict: median {statistics.median(waited):.1f} ms, 99 % below "
          f"{waited[int(0.99 * (len(waited) - 1))]:.1f} ms, longest {waited[-1]:.1f} ms; all in all {seconds:.0f} s")
    good = not (misses or false_alarms or different or unjudged)
    print("all well" if good else "NOT all well")
    return 0 if good else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (CannotRun, OSError) as problem:
        print(f"demo: {problem}", file=sys.stderr)
        sys.exit(2)
