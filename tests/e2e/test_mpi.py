"""The daemon and a simulation in one MPI job, oversubscribed on this machine: the same verdicts as from one process, bit for bit, a clean
end, and a simulation that goes on where there is no daemon to be had."""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import time
import unittest

from harness import DAEMON, PROBES, Daemon, DaemonTest, Probe, png

# A build with the feature mpi; `make test-python` makes one.
BINARY = os.environ.get("ANOMALYD_MPI_BINARY")
MPIRUN = ["mpirun", "--oversubscribe", "--bind-to", "none"] + (["--allow-run-as-root"] if os.geteuid() == 0 else [])
COLOUR_OF_THE_DAEMON = 1634627437
OK, UNAVAILABLE, INVALID = 200, 2, 3
N_IMAGES = 20
JOB_LIMIT_S = 120


@unittest.skipUnless(BINARY, "ANOMALYD_MPI_BINARY names no build with the feature mpi: serving within an MPI job is NOT tested")
class MpiTest(DaemonTest):
    def setUp(self):
        super().setUp()
        self.assertTrue(shutil.which("mpirun"), "no mpirun: deploy/install-packages.sh installs it")
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("ANOMALYD_")}
        # Open MPI's own directory of a job must have a short name too.
        self.environment["TMPDIR"] = str(self.directory)

    def images(self):
        """A run that moves, and whose last image but one is out of line."""
        paths = []
        for step in range(1, N_IMAGES + 1):
            shift = 3 * step + (90 if step == N_IMAGES - 1 else 0)
            path = self.directory / f"{step:04}.png"
            path.write_bytes(png(40, 48, lambda r, c: ((r * 5 + shift) % 256, (c * 3 + shift // 2) % 256, (r * c + shift) % 256)))
            paths.append(path)
        return paths

    def simulation(self, language, colour, run, paths, n_ranks=2):
        out = self.directory / f"out-{language}-{colour}"
        program = [PROBES / f"simulation_{language}", str(colour), run, out, *paths]
        return ["-n", str(n_ranks), *map(str, program)], out

    def serving(self, n_ranks, *arguments):
        runtime = ["--runtime-dir", self.directory / "runtime"]
        return ["-n", str(n_ranks), BINARY, "serve", "--mpi", *map(str, [*runtime, *arguments])]

    def job(self, *programs):
        """Runs a job to its end; returns its exit code and what it wrote."""
        command = list(MPIRUN)
        for idx, program in enumerate(programs):
            command += ([":"] if idx else []) + program
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=JOB_LIMIT_S, cwd=self.directory
        )
        return done.returncode, done.stdout + done.stderr

    @staticmethod
    def told(out, rank):
        """How the split went, and each step's label, score and threshold as this rank of the simulation was told."""
        first, *lines = pathlib.Path(f"{out}.{rank}").read_text().splitlines()
        split = re.match(r"split +(-?\d+) rank +(-?\d+) of +(\d+) endpoint *(.*)", first).groups()
        verdicts = []
        for line in lines:
            status, label, acted, _, step, score, threshold, _, _ = line.split()
            verdicts.append((int(step), int(status), label, acted, repr(float(score)), repr(float(threshold))))
        return split, verdicts

    def alone(self, paths, *arguments):
        """The same of a daemon that is one process."""
        directory = self.directory / "alone"
        directory.mkdir(exist_ok=True)
        daemon = Daemon(directory, "", ["--roots", str(self.directory), *arguments])
        self.addCleanup(daemon.stop)
        probe = Probe("c", daemon.service, "run", timeout_ms=60_000)
        answers = [probe.classify(step, path) for step, path in enumerate(paths, 1)]
        probe.close()
        daemon.stop()
        return [(a.step, a.status, a.label, str(int(a.acted)), repr(a.score), repr(a.threshold)) for a in answers]


class SameVerdicts(MpiTest):
    def test_every_rank_of_a_c_and_a_fortran_simulation_is_told_the_verdicts_of_one_process(self):
        paths = self.images()
        expected = self.alone(paths)
        self.assertEqual([verdict[1] for verdict in expected], [OK] * N_IMAGES)
        self.assertNotIn("nan", expected[-1][4], "the last image has a score")
        for language in ("c", "fortran"):
            for n_ranks in (1, 3):
                with self.subTest(language=language, daemon_ranks=n_ranks):
                    simulation, out = self.simulation(language, 0, "run", paths)
                    code, log = self.job(simulation, self.serving(n_ranks))
                    self.assertEqual(code, 0, log)
                    for rank in (0, 1):
                        split, verdicts = self.told(out, rank)
                        self.assertEqual(split[:3], (str(OK), str(rank), "2"), log)
                        self.assertEqual(verdicts, expected, log)
                    self.assertIn("the simulation has ended", log)
                    jobs = [int(n) for n in re.findall(r"ended rank=\d+ jobs=(\d+)", log)]
                    self.assertEqual(len(jobs), n_ranks - 1, log)
                    # One more, to learn what the extractor is like.
                    self.assertEqual(sum(jobs), N_IMAGES + 1 if n_ranks > 1 else 0, log)

    def test_paper_s_rule_is_the_same_as_well(self):
        paths = self.images()
        flags = ["--set", "online.method=forest", "--set", "online.forest.warm_up=5"]
        expected = self.alone(paths, *flags)
        self.assertNotIn("nan", expected[-1][4], "the last image has a score")
        simulation, out = self.simulation("c", 0, "run", paths)
        code, log = self.job(simulation, self.serving(3, *flags))
        self.assertEqual(code, 0, log)
        self.assertEqual(self.told(out, 0)[1], expected, log)

    def test_ranks_keep_the_trees_of_the_paper_s_rule_and_the_verdicts_are_the_same(self):
        paths = self.images()
        for incremental in ("true", "false"):
            with self.subTest(incremental=incremental):
                flags = ["--set", "online.method=forest", "--set", "online.forest.warm_up=5"]
                flags += ["--set", f"online.forest.incremental={incremental}", "--set", "online.forest.forest.n_trees=50"]
                expected = self.alone(paths, *flags)
                self.assertNotIn("nan", expected[-1][4], "the last image has a score")
                simulation, out = self.simulation("c", 0, "run", paths)
                in_fortran, out_fortran = self.simulation("fortran", 1, "other", paths, n_ranks=1)
                code, log = self.job(simulation, self.serving(3, *flags, "--set", "online.forest.share_trees=true"), in_fortran)
                self.assertEqual(code, 0, log)
                self.assertEqual(self.told(out, 1)[1], expected, log)
                self.assertEqual(self.told(out_fortran, 0)[1], expected, log)
                # Each rank is asked for its part at every judgement of both runs.
                jobs = [int(n) for n in re.findall(r"ended rank=\d+ jobs=(\d+)", log)]
                self.assertEqual(len(jobs), 2, log)
                self.assertGreater(min(jobs), 2 * (N_IMAGES - 5), log)

    def test_coupled_programs_of_two_colours_are_watched_by_one_daemon(self):
        paths = self.images()
        expected = self.alone(paths)
        in_c, out_c = self.simulation("c", 3, "ocean", paths)
        in_fortran, out_fortran = self.simulation("fortran", 4, "air", paths, n_ranks=1)
        code, log = self.job(in_c, self.serving(3), in_fortran)
        self.assertEqual(code, 0, log)
        self.assertEqual(self.told(out_c, 1), ((str(OK), "1", "2", self.told(out_c, 0)[0][3]), expected), log)
        self.assertEqual(self.told(out_fortran, 0)[0][:3], (str(OK), "0", "1"), log)
        self.assertEqual(self.told(out_fortran, 0)[1], expected, log)

    def test_errors_on_another_rank_have_the_statuses_of_one_process(self):
        good = self.images()[0]
        small = self.directory / "small.png"
        small.write_bytes(png(9, 9, lambda r, c: (r, c, 0)))
        paths = [good, self.directory / "missing.png", small, good]
        extractor = 'online.one_step_ahead.features.extractor={name="resnet50", weights="resnet50-v15-torchvision"}'
        for flags in ([], ["--set", extractor]):
            with self.subTest(flags=flags):
                expected = self.alone(paths, *flags)
                self.assertNotEqual({verdict[1] for verdict in expected}, {OK})
                simulation, out = self.simulation("c", 0, "run", paths)
                code, log = self.job(simulation, self.serving(2, *flags))
                self.assertEqual(code, 0, log)
                self.assertEqual(self.told(out, 0)[1], expected, log)
                if flags:
                    self.assertIn("resnet50-v15-torchvision", log)


class Ends(MpiTest):
    def test_job_without_a_daemon_goes_on_without(self):
        paths = self.images()[:2]
        for language in ("c", "fortran"):
            simulation, out = self.simulation(language, 0, "run", paths)
            code, log = self.job(simulation)
            self.assertEqual(code, 0, log)
            split, verdicts = self.told(out, 1)
            self.assertEqual(split, (str(UNAVAILABLE), "1", "2", ""))
            self.assertEqual([verdict[1] for verdict in verdicts], [INVALID] * 2)

    def test_daemon_that_cannot_start_says_why_and_the_simulation_goes_on_without(self):
        paths = self.images()[:1]
        plain_tcp = ["--service", "tcp://*:0"]  # and no --roots: clients of other users could name any file
        for n_ranks, arguments, words in [
            (1, ["--config", "absent.toml"], "absent.toml"),
            (3, ["--set", "queue.capacity=0"], "queue.capacity is 0"),
            (2, plain_tcp, "--roots"),
            (2, ["--set", "security.client_keys_dir=keys"], "security.server_key_file"),
        ]:
            with self.subTest(arguments=arguments):
                simulation, out = self.simulation("c", 0, "run", paths)
                code, log = self.job(simulation, self.serving(n_ranks, *arguments))
                self.assertEqual(code, 0, log)
                self.assertEqual(self.told(out, 1)[0], (str(UNAVAILABLE), "1", "2", ""), log)
                self.assertEqual(log.count(words), 1, log)
                self.assertIn("goes on without", log)

    def test_configured_endpoint_is_the_one_that_is_told(self):
        paths = self.images()[:1]
        simulation, out = self.simulation("fortran", 0, "run", paths)
        endpoint = f"ipc://{self.directory}/s.sock"
        code, log = self.job(simulation, self.serving(2, "--service", endpoint))
        self.assertEqual(code, 0, log)
        split, verdicts = self.told(out, 0)
        self.assertEqual((split[3], verdicts[0][1]), (endpoint, OK), log)

    def test_wrong_colour_is_refused_and_holds_nobody_up(self):
        paths = self.images()[:1]
        for language in ("c", "fortran"):
            simulation, out = self.simulation(language, COLOUR_OF_THE_DAEMON, "run", paths, n_ranks=1)
            other, other_out = self.simulation("c", 1, "run", paths, n_ranks=1)
            code, log = self.job(simulation, other, self.serving(1))
            self.assertEqual(code, 0, log)
            self.assertEqual(self.told(out, -1)[0][:3], (str(INVALID), "-1", "0"), log)
            self.assertEqual(self.told(other_out, 0)[1][0][1], OK, log)

    def test_use_without_a_job_or_without_the_feature_is_explained(self):
        for command, words in [
            ([BINARY, "serve", "--mpi"], "the only rank of its MPI job"),
            ([*MPIRUN, "-n", "1", BINARY, "serve", "--mpi"], "the only rank of its MPI job"),
            ([DAEMON, "serve", "--mpi"], "built without MPI"),
        ]:
            done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60)
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn(words, done.stderr)

    def test_ranks_without_a_simulation_serve_others_until_they_are_told_to_end(self):
        file = self.directory / "endpoint"
        log = open(self.directory / "job.log", "wb")
        self.addCleanup(log.close)
        command = [*MPIRUN, *self.serving(3, "--endpoint-file", file)]
        job = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log)
        self.addCleanup(lambda: job.poll() is None and job.kill())
        limit = time.monotonic() + 30
        while not file.exists():
            self.assertLess(time.monotonic(), limit, (self.directory / "job.log").read_text())
            time.sleep(0.05)
        # A batch system's notice to the whole job; mpirun passes it on.
        job.send_signal(signal.SIGUSR1)
        paths = self.images()[:2]
        for path in paths:
            done = subprocess.run(
                [DAEMON, "classify", "--run", "run", "--step", path.stem, path],
                env={**self.environment, "ANOMALYD_ENDPOINT_FILE": str(file)}, capture_output=True, text=True, timeout=60,
            )
            self.assertEqual(done.returncode, 3, done.stderr + (self.directory / "job.log").read_text())
        pid = dict(line.split("=", 1) for line in file.read_text().splitlines())["pid"]
        os.kill(int(pid), signal.SIGTERM)
        self.assertEqual(job.wait(30), 0, (self.directory / "job.log").read_text())
        self.assertFalse(file.exists())


if __name__ == "__main__":
    unittest.main()
