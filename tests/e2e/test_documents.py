"""What the documents show works as it stands there."""

import re
import subprocess
import unittest

from harness import DAEMON, PROBES, ROOT, DaemonTest

IMAGE = "/scratch/me/run_a/entropy_0733.png"


def block(language):
    return re.search(rf"```{language}\n(.*?)```", (ROOT / "README.md").read_text(), re.S).group(1)


class Readme(DaemonTest):
    def build(self, source, name, compiler, *flags):
        path = self.directory / name
        path.write_text(source.replace(IMAGE, str(self.image())))
        program = path.with_suffix("")
        library = next(PROBES.rglob("libanomalyd.so"))
        subprocess.run([*compiler, path, "-o", program, *flags, library, f"-Wl,-rpath,{library.parent}"], check=True)
        return program

    def assert_it_asks(self, program):
        environment = {"ANOMALYD_ENDPOINT_FILE": str(self.daemon.endpoint_file)}
        self.assertEqual(subprocess.run([program], env=environment, timeout=30).returncode, 0)
        status = subprocess.run(
            [DAEMON, "health", "--control", self.daemon.control], capture_output=True, text=True, timeout=30
        )
        self.assertEqual(status.returncode, 0)
        self.assertRegex(self.daemon.log_text(), r"run_a.*733|733.*run_a")

    def test_c_program_compiles_and_asks(self):
        self.start()
        include = ROOT / "client-c/include"
        self.assert_it_asks(self.build(block("c"), "readme.c", ["cc", "-std=c99", "-Wall", "-Wextra", "-Werror", f"-I{include}"]))

    def test_fortran_program_compiles_and_asks(self):
        self.start()
        client = ROOT / "client-fortran/src/anomalyd.f90"
        compiler = ["gfortran", f"-J{self.directory}", client]
        self.assert_it_asks(self.build(block("fortran"), "readme.f90", compiler))


class Files(unittest.TestCase):
    def test_links_between_documents_lead_somewhere(self):
        for document in ROOT.glob("**/*.md"):
            if {"target", "build", "node_modules"} & set(document.relative_to(ROOT).parts):
                continue
            for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text()):
                with self.subTest(document=document.name, link=link):
                    self.assertTrue((document.parent / link).exists(), link)

    def test_default_configuration_file_is_what_the_binary_prints(self):
        printed = subprocess.run([DAEMON, "config", "defaults"], capture_output=True, text=True, check=True).stdout
        self.assertEqual(printed, (ROOT / "deploy/anomalyd.toml").read_text())


if __name__ == "__main__":
    unittest.main()
