#!/usr/bin/python3
"""The daemon in the loop: bits flipped at random, and what becomes of them.

Each run has an initial state of its own and one flipped bit: any of 64 bits of any of four variables of any zone, before any time step of
any image's interval. Nothing is chosen so that it can be seen. A flip is *visible* if, in one of the first images after it, without a
daemon, at least --pixels pixels have a colour at least --colours of 128 away from that of the same image of the undisturbed run.

Beside each run stand its undisturbed twin, also watched, for the false alarms; and the cheap baselines, judged one step ahead by the same
machinery (`anomalyd evaluate`) on the undisturbed images up to the flip and the first images after it.

Exit codes: 0 done; 1 a run that caught its flip, or its twin, did not end with the undisturbed run's bits; 2 something could not be run.
"""

import argparse
import collections
import concurrent.futures
import contextlib
import dataclasses
import json
import math
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time
import zlib

import numpy

from demo import CannotRun, Run, daemon, equal, simulate

VARIABLES = ("density", "momentum_x", "momentum_y", "energy")
# As the solver draws them: see src/render.f90 and src/parameters.f90.
N_COLOURS = 128
ROWS, COLUMNS = 128, 256
N_STEPS = 120
# Images after the flip in which it may become visible, and in which an alarm counts as catching it.
N_LOOKED_AT = 3
N_CATCHING = 10
CONFIDENCE = 0.95


@dataclasses.dataclass
class Outcome:
    """What became of one flip."""

    seed: int
    words: str
    step: int
    # Pixels that differ, in the image in which most do.
    n_pixels: int
    # Images from the flip to the alarm; None: not caught.
    delay: int | None
    collapsed: bool
    n_false: int
    n_judged: int
    n_twin_false: int
    n_twin_judged: int
    equal: bool
    # By judge: the delay, or None.
    open_loop: dict
    open_loop_false: dict


def colours():
    """The solver's colour table as one number a colour."""
    control = numpy.array([[0, 0, 255], [0, 255, 255], [0, 255, 0], [255, 255, 0], [255, 0, 0]], float)
    position = 4 * numpy.arange(N_COLOURS) / (N_COLOURS - 1)
    segment = numpy.minimum(position.astype(int), 3)
    share = (position - segment)[:, None]
    table = numpy.floor(control[segment] + share * (control[segment + 1] - control[segment]) + 0.5).astype(int)
    return {int(r) << 16 | int(g) << 8 | int(b): k for k, (r, g, b) in enumerate(table)}


TABLE = colours()


def levels(path):
    """The colours of an image of the solver, 0 to 127; -128 for a zone without an entropy."""
    data, at, compressed = path.read_bytes(), 8, b""
    while at < len(data):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if kind == b"IDAT":
            compressed += data[at + 8 : at + 8 + length]
        at += 12 + length
    lines = numpy.frombuffer(zlib.decompress(compressed), numpy.uint8).reshape(ROWS, 1 + 3 * COLUMNS)
    if lines[:, 0].any():
        raise CannotRun(f"{path}: filtered lines; src/png.f90 writes none")
    pixels = lines[:, 1:].reshape(ROWS, COLUMNS, 3).astype(int)
    keys, place = numpy.unique(pixels @ [1 << 16, 1 << 8, 1], return_inverse=True)
    unknown = [key for key in keys if key not in TABLE and key != 0]
    if unknown:
        raise CannotRun(f"{path}: the colour {unknown[0]:06x} is none of the table")
    return numpy.array([TABLE.get(int(key), -128) for key in keys])[place].reshape(ROWS, COLUMNS)


def follow(run: Run):
    """Delay to the first alarm that the fault was the reason of, whether the time step collapsed, and false alarms.

    The fault is in the state from the flip to the first rewind to before it. An alarm without it, or long after it, is a false one.
    """
    in_state, delay, collapsed, n_false, flip_step = False, None, False, 0, 0
    for kind, step in run.events:
        if kind == "flip":
            in_state, flip_step = True, step
        elif kind == "rewind" and step < flip_step:
            in_state = False
        elif kind == "collapse":
            collapsed = collapsed or in_state
        elif kind == "alarm" and in_state and step - flip_step < N_CATCHING:
            delay = step - flip_step if delay is None else delay
        elif kind == "alarm":
            n_false += 1
    return delay, collapsed, n_false


def bounds(n_events, n_trials):
    """Clopper and Pearson (1934)."""
    tail = (1 - CONFIDENCE) / 2

    def at_most(k, rate):
        return sum(math.comb(n_trials, i) * rate**i * (1 - rate) ** (n_trials - i) for i in range(k + 1))

    def bisect(holds):
        low, high = 0.0, 1.0
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if holds(middle) else (low, middle)
        return low

    low = bisect(lambda rate: 1 - at_most(n_events - 1, rate) < tail) if n_events else 0.0
    high = bisect(lambda rate: at_most(n_events, rate) > tail) if n_events < n_trials else 1.0
    return low, high


def flip_of(seed, bits, first_seed):
    """The fault of a run: parameters of the solver, and words."""
    rng = random.Random(f"{first_seed}-{seed}")
    step, cycle = rng.randint(40, N_STEPS - N_CATCHING), rng.randint(1, 6)
    i, j, variable, bit = rng.randint(1, COLUMNS), rng.randint(1, ROWS), rng.choice(VARIABLES), rng.randint(*bits)
    parameters = [f"flip_step={step}", f"flip_cycle={cycle}", f"flip_i={i}", f"flip_j={j}", f"flip_variable='{variable}'",
                  f"flip_bit={bit}"]
    return step, parameters


def evaluate(binary, directory, twin, bare, step, environment):
    """Delays and false alarms of the method and the baselines on undisturbed images up to the flip and faulty ones after it."""
    lines = ["frame,file,label"]
    for number in range(step):
        lines.append(f"{number},{twin.directory}/entropy_{number:04d}.png,normal")
    for number in range(step, step + N_LOOKED_AT):
        path = bare.directory / f"entropy_{number:04d}.png"
        if path.exists():
            lines.append(f"{number},{path},anomalous")
    manifest = directory / "manifest.csv"
    manifest.write_text("\n".join(lines) + "\n")
    command = [binary, "evaluate", manifest, "--json", "-"]
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    if result.returncode != 0:
        raise CannotRun(f"anomalyd evaluate: {result.stderr.strip()}")
    judges = json.loads(result.stdout)["runs"][0]["judges"]
    return ({judge["judge"]: judge["delay"] for judge in judges},
            {judge["judge"]: (judge["false_alarms"], judge["normal_judged"]) for judge in judges})


def one(seed, arguments, program, binary, directory, environment):
    """One flip: the undisturbed run and the one with the flip, watched, and the one with the flip, alone, for what it shows."""
    own = directory / f"run-{seed}"
    own.mkdir()
    step, parameters = flip_of(seed, arguments.bits, arguments.first_seed)
    twin = simulate(program, own / f"twin-{seed}", environment, seed, 0, keep=True)
    run = simulate(program, own / f"flip-{seed}", environment, seed, 0, more=parameters)
    alone = {name: value for name, value in environment.items() if not name.startswith("ANOMALYD_")}
    short = [*parameters, f"n_steps={step + N_LOOKED_AT - 1}"]
    bare = simulate(program, own / f"bare-{seed}", alone, seed, 0, keep=True, more=short, watched=False)
    if not run.flip or not bare.flip:
        raise CannotRun(f"run {seed}: the flip did not happen")
    n_pixels = 0
    for number in range(step, step + N_LOOKED_AT):
        image = f"entropy_{number:04d}.png"
        if (bare.directory / image).exists():
            difference = abs(levels(bare.directory / image) - levels(twin.directory / image))
            n_pixels = max(n_pixels, int((difference >= arguments.colours).sum()))
    delay, collapsed, n_false = follow(run)
    same, _ = equal(program, twin, run)
    open_loop, open_loop_false = evaluate(binary, own, twin, bare, step, alone)
    _, i, j, variable, bit, before, after = run.flip
    words = f"({i:>3}, {j:>3}) {variable:<10} {bit:>3}  {float(before):>10.3e} -> {float(after):<10.3e}"
    if not arguments.keep:
        shutil.rmtree(own)
    return Outcome(seed, words, step, n_pixels, delay, collapsed, n_false, run.n_judged, len(twin.alarms), twin.n_judged, same, open_loop,
                   open_loop_false)


def row(outcome, arguments):
    visible = "visible" if outcome.n_pixels >= arguments.pixels else ""
    what = "collapse" if outcome.collapsed and outcome.delay is None else "" if outcome.delay is None else f"{outcome.delay}"
    return (f"{outcome.seed:>4}  {outcome.words} {outcome.step:>5} {outcome.n_pixels:>7} {visible:>8} {what:>9} {outcome.n_false:>6} "
            f"{outcome.n_twin_false:>5}  {'equal' if outcome.equal else 'differs'}")


HEAD = (f"{'seed':>4}  {'zone':<10} {'of':<10} bit  {'value before':>10} -> {'after':<9} {'image':>5} {'pixels':>7} {'':>8} {'caught in':>9} "
        f"{'false':>6} {'twin':>5}  final state")


def rate(n, of):
    if of == 0:
        return "-"
    low, high = bounds(n, of)
    return f"{n} of {of} ({100 * low:.0f}-{100 * high:.0f} %)"


def sum_up(outcomes, arguments, seconds):
    visible = [outcome for outcome in outcomes if outcome.n_pixels >= arguments.pixels]
    caught = [outcome for outcome in outcomes if outcome.delay is not None]
    print(f"\n{len(outcomes)} flipped bits, {len(visible)} of them visible: at least {arguments.pixels} pixels at least {arguments.colours} of "
          f"{N_COLOURS} colours away from the undisturbed run, in one of the first {N_LOOKED_AT} images")
    print(f"visible ones caught in the loop: {rate(sum(o.delay is not None for o in visible), len(visible))}")
    delays = collections.Counter(outcome.delay for outcome in caught)
    print("images to the alarm, 0 if the first after the flip: " + (", ".join(f"{n} in {d}" for d, n in sorted(delays.items())) or "none"))
    print(f"caught though not visible by that measure: {sum(o.n_pixels < arguments.pixels for o in caught)}; time step collapsed, which the "
          f"solver itself takes for an alarm: {sum(o.collapsed for o in outcomes)}")

    print("\npixels that differ    flips    caught in the loop     and, on recorded images, in the first one:")
    judges = list(outcomes[0].open_loop)
    print(" " * 52 + "".join(f"{judge:>20}" for judge in judges))
    limits = [0, 1, 4, arguments.pixels, 30, math.inf]
    for low, high in zip(limits, limits[1:]):
        part = [outcome for outcome in outcomes if low <= outcome.n_pixels < high]
        name = "none" if low == 0 else f"{low} to {high - 1}" if high < math.inf else f"{low} or more"
        cells = "".join(f"{sum(o.open_loop[judge] == 0 for o in part):>17} of {len(part)}"[-20:].rjust(20) for judge in judges)
        print(f"{name:<20} {len(part):>6} {sum(o.delay is not None for o in part):>13}{'':>12}{cells}")
    n_false, n = (sum(o.open_loop_false[judges[0]][k] for o in outcomes) for k in (0, 1))
    print(f"false alarms on the same recorded images before the flip, of {n}: " +
          ", ".join(f"{judge} {sum(o.open_loop_false[judge][0] for o in outcomes)}" for judge in judges))

    n_judged = sum(o.n_judged + o.n_twin_judged for o in outcomes)
    n_false = sum(o.n_false + o.n_twin_false for o in outcomes)
    low, high = bounds(n_false, n_judged)
    print(f"\nfalse alarms in the loop: {n_false} in {n_judged} images judged, in the twins {sum(o.n_twin_false for o in outcomes)} in "
          f"{sum(o.n_twin_judged for o in outcomes)}: {1000 * n_false / n_judged:.2f} in 1,000 (95 %: {1000 * low:.2f} to {1000 * high:.2f})")
    unequal = [outcome.seed for outcome in caught if not outcome.equal]
    print(f"final states equal to the undisturbed run's, bit for bit: {sum(o.equal for o in caught)} of {len(caught)} caught, "
          f"{sum(o.equal for o in outcomes if o.delay is None)} of {len(outcomes) - len(caught)} others; {seconds:.0f} s")
    if unequal:
        print(f"NOT well: caught, but not equal in the end: seeds {unequal}")
    return 1 if unequal else 0


def bit_range(text):
    low, _, high = text.partition(":")
    low, high = int(low), int(high or low)
    if not 0 <= low <= high <= 63:
        raise argparse.ArgumentTypeError("expected FIRST:LAST within 0:63")
    return low, high


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--daemon", required=True, type=pathlib.Path, help="the binary anomalyd")
    parser.add_argument("--simulation", required=True, type=pathlib.Path, help="directory of simulation and compare_states")
    parser.add_argument("--runs", type=int, default=50, help="flipped bits to try (default 50)")
    parser.add_argument("--first-seed", type=int, default=1000, help="number of the first initial state; also draws the flips (default 1000)")
    parser.add_argument("--bits", type=bit_range, default=(0, 63), metavar="FIRST:LAST",
                        help="bits to draw from: 0:51 is the mantissa, 52:62 the exponent, 63 the sign (default 0:63)")
    parser.add_argument("--pixels", type=int, default=10, help="pixels that must differ for a flip to be visible (default 10)")
    parser.add_argument("--colours", type=int, default=8, help="by at least so many of 128 colours (default 8)")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="runs at the same time")
    parser.add_argument("--json", type=pathlib.Path, help="write what became of each flip to this file")
    parser.add_argument("--keep", type=pathlib.Path, help="keep images and checkpoints in this new directory")
    arguments = parser.parse_args()
    program, binary = arguments.simulation.resolve(), arguments.daemon.resolve()
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        if arguments.keep:
            directory = arguments.keep.resolve()
            directory.mkdir(parents=True)
        else:
            # As the demonstration: a socket's path may have 107 bytes.
            directory = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="anomalyd-report-", dir="/tmp")))
        environment = stack.enter_context(daemon(binary, directory))
        print(f"bits {arguments.bits[0]} to {arguments.bits[1]}\n\n{HEAD}")
        outcomes = []
        seeds = range(arguments.first_seed, arguments.first_seed + arguments.runs)
        with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
            for outcome in pool.map(lambda seed: one(seed, arguments, program, binary, directory, environment), seeds):
                outcomes.append(outcome)
                print(row(outcome, arguments), flush=True)
        code = sum_up(outcomes, arguments, time.monotonic() - began)
    if arguments.json:
        arguments.json.write_text(json.dumps([dataclasses.asdict(outcome) for outcome in outcomes], indent=1) + "\n")
    return code


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (CannotRun, OSError) as problem:
        print(f"report: {problem}", file=sys.stderr)
        sys.exit(2)
