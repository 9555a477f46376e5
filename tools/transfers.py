"""Print what crosses between a device and the host in fits of clamping, counted on a device that only pretends.

``python tools/transfers.py`` needs torch 2.10 or later and no GPU. A pass is one way of samples through the network,
forward or back; what crosses to the host makes the host wait for the device. ``--places`` says who asked for it.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / folder) for folder in ("", "tests", "tools")]

from _pretend_device import register  # noqa: E402

FITS = {"affine": {"perturbation": "affine"}, "auto": {}, "no perturbation": {"perturbation": None}}


def main():
    """Fit, and print a row of each fit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--places", action="store_true", help="print from which lines of the package")
    options = parser.parse_args()
    register()
    from _pretend_fits import counted

    print(f"{'fit':16} {'passes':>7} {'to host':>8} {'a pass':>7} {'values':>8} {'to device':>10}")
    for name, params in FITS.items():
        moved, n_passes = counted(**params)
        back = [transfer for transfer in moved if transfer.to == "host"]
        n_values = sum(transfer.n_values for transfer in back)
        print(
            f"{name:16} {n_passes:7} {len(back):8} {len(back) / n_passes:7.2f} {n_values:8} {len(moved) - len(back):10}"
        )
        if options.places:
            for places, count in Counter(transfer.places[:2] for transfer in back).most_common():
                print(f"{count:8}  {' < '.join(places)}")


if __name__ == "__main__":
    main()
