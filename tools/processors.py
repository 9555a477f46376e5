"""Runs the fast tests as other processors would: ``python tools/processors.py``, and what else is meant for pytest.

Each setting keeps the libraries to one kind of arithmetic: torch's vector instructions, OpenBLAS's kernels, oneDNN's,
and how many threads all of them have. Whatever a setting doesn't name is as the processor has it.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

import torch

ROOT = Path(__file__).resolve().parents[1]
NAMES = "ATEN_CPU_CAPABILITY", "OPENBLAS_CORETYPE", "DNNL_MAX_CPU_ISA", "OMP_NUM_THREADS"
# What a processor with these vector instructions (as torch has it), and with all above, can run.
SETTINGS = {
    "DEFAULT": [("OMP_NUM_THREADS", "1"), ("OMP_NUM_THREADS", "2"), ("ATEN_CPU_CAPABILITY", "default")],
    "AVX2": [("ATEN_CPU_CAPABILITY", "avx2"), ("OPENBLAS_CORETYPE", "Haswell"), ("DNNL_MAX_CPU_ISA", "SSE41")],
    "AVX512": [("ATEN_CPU_CAPABILITY", "avx512"), ("OPENBLAS_CORETYPE", "SkylakeX"), ("DNNL_MAX_CPU_ISA", "AVX2")],
}


def settings(capability):
    """The settings, as name and value, that a processor of some capability can run."""
    levels = list(SETTINGS)
    # Others, such as those of Arm, have threads alone.
    n_levels = levels.index(capability) + 1 if capability in levels else 1
    return [setting for level in levels[:n_levels] for setting in SETTINGS[level]]


def run(name, value, arguments):
    """Whether all tests pass under a setting, and a row that tells how many do."""
    environment = {other: text for other, text in os.environ.items() if other not in NAMES}
    environment |= {"OMP_NUM_THREADS": "1", name: value}
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        command = [sys.executable, "-m", "pytest", f"--junitxml={report}", *arguments]
        status = subprocess.run(command, cwd=ROOT, env=environment).returncode
        suite = ElementTree.parse(report).getroot()[0].attrib if report.exists() else {}
    n_tests, n_skipped = (int(suite.get(count, 0)) for count in ("tests", "skipped"))
    n_failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
    counts = n_tests - n_skipped - n_failed, n_failed, n_skipped
    return status == 0, f"{name}={value}".ljust(30) + "".join(str(count).rjust(9) for count in counts)


def main(arguments):
    """Run the tests under each setting, print a row for each, and tell whether all passed."""
    ran = []
    for name, value in settings(torch.backends.cpu.get_cpu_capability()):
        print(f"\n{name}={value}", flush=True)
        ran.append(run(name, value, arguments))
    heads = ("passed", "failed", "skipped")
    print("\n" + "setting".ljust(30) + "".join(head.rjust(9) for head in heads), *(row for _, row in ran), sep="\n")
    return all(passed for passed, _ in ran)


if __name__ == "__main__":
    sys.exit(not main(sys.argv[1:]))
