"""Runs the fast tests as other processors would: ``python tools/processors.py``, and what else is meant for pytest.

Vector instructions, and threads that share sums, round in other ways. A processor of few instructions is played by
torch, OpenBLAS and oneDNN, which are told to use no more; whatever a setting doesn't name is as the processor has it.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

import torch

ROOT = Path(__file__).resolve().parents[1]
# By what torch calls their instructions, the fewest first.
PROCESSORS = {
    "DEFAULT": {"ATEN_CPU_CAPABILITY": "default", "OPENBLAS_CORETYPE": "Nehalem", "DNNL_MAX_CPU_ISA": "SSE41"},
    "AVX2": {"ATEN_CPU_CAPABILITY": "avx2", "OPENBLAS_CORETYPE": "Haswell", "DNNL_MAX_CPU_ISA": "AVX2"},
    "AVX512": {"ATEN_CPU_CAPABILITY": "avx512", "OPENBLAS_CORETYPE": "SkylakeX", "DNNL_MAX_CPU_ISA": "AVX512_CORE"},
}
# Threads that wait give way to others: processes may have more of them than there are cores.
THREADS = [{"OMP_NUM_THREADS": "1"}, {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "passive"}]


def settings(capability):
    """What to set: threads, on the processor as it is, and processors that have no more instructions than this one."""
    levels = list(PROCESSORS)
    n_levels = levels.index(capability) + 1 if capability in levels else 0
    return THREADS + [PROCESSORS[level] for level in levels[:n_levels]]


def run(setting, arguments):
    """Whether all tests pass under a setting, and a row that tells how many do."""
    names = {name for setting in (*PROCESSORS.values(), *THREADS) for name in setting}
    environment = {name: value for name, value in os.environ.items() if name not in names}
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        command = [sys.executable, "-m", "pytest", f"--junitxml={report}", *arguments]
        status = subprocess.run(command, cwd=ROOT, env=environment | THREADS[0] | setting).returncode
        suite = ElementTree.parse(report).getroot()[0].attrib if report.exists() else {}
    n_tests, n_skipped = (int(suite.get(count, 0)) for count in ("tests", "skipped"))
    n_failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
    return status == 0, f"{n_tests - n_skipped - n_failed:6}  {n_failed:6}  {n_skipped:7}  {described(setting)}"


def described(setting):
    """A setting as a shell has it."""
    return " ".join(f"{name}={value}" for name, value in setting.items())


def main(arguments):
    """Run the tests under each setting, print a row for each, and tell whether all passed."""
    ran = []
    for setting in settings(torch.backends.cpu.get_cpu_capability()):
        print(f"\n{described(setting)}", flush=True)
        ran.append(run(setting, arguments))
    print("\npassed  failed  skipped  setting", *(row for _, row in ran), sep="\n")
    return all(passed for passed, _ in ran)


if __name__ == "__main__":
    sys.exit(not main(sys.argv[1:]))
