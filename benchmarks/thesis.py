"""Tang's (2022) experiments: neural clamping and the state of the art on CIFAR-100 and ImageNet, with intervals.

A ResNet-20 for CIFAR-100 is calibrated on the 5,000 training images that it hasn't seen and judged by the 10,000 test
images. Parts: the table of all methods; the ablation (input only, output only, joint); gamma of the focal loss; the
size of the calibration set; and the table on ImageNet, for which a folder in torchvision's layout is halved. Every
result is appended to a CSV file as it is computed, and what the file has already is left out. A Markdown file of
tables and the figures are written beside it.

    python benchmarks/thesis.py --data DIR
    python benchmarks/thesis.py --data DIR --parts table --methods uncalibrated temperature clamping
    python benchmarks/thesis.py --data DIR --parts table ablation --epochs 10 --precision bfloat16
    python benchmarks/thesis.py --parts imagenet --imagenet DIR --imagenet-network resnet50
    python benchmarks/thesis.py --summary

The reference's settings take 100 epochs: hours on a few processor cores. Intervals are for the randomness of the test
images alone; seeds vary what a method draws, and the smaller calibration sets.

Y.-C. Tang, "Neural Clamping: Joint Input Perturbation and Temperature Scaling for Neural Network Calibration", thesis,
2022; published as Tang, Chen and Ho, TMLR 2024.
"""

import argparse
from pathlib import Path

import pandas as pd
import torch
from tqdm import tqdm

from _data import add_data_argument
from _result_file import ResultFile
from _thesis_data import cifar100, imagenet
from _thesis_figure import draw
from _thesis_methods import FACTS, calibrate
from _thesis_runs import METHODS, PARTS, Run, cifar_runs, imagenet_runs
from _thesis_scores import COLUMNS, evaluate
from _thesis_tables import means, report
from skclamp import REFERENCE_SETTINGS, TemperatureScaling


def compute(options):
    """Compute and write the results that the file doesn't have yet."""
    results = ResultFile(options.out, (*Run._fields, "n_test", *COLUMNS, *FACTS), len(Run._fields))
    if set(options.parts) != {"imagenet"}:
        compute_runs(results, cifar100(options), cifar_runs, options)
    if "imagenet" in options.parts:
        compute_runs(results, imagenet(options), imagenet_runs, options)


def compute_runs(results, problem, runs_of, options):
    """One problem's part."""
    pending = [run for run in runs_of(options, len(problem.calibration.labels)) if run not in results]
    with tqdm(pending, disable=None) as progress:
        for run in progress:
            progress.set_description(f"{run.method}, n = {run.n_calibration}, seed {run.seed}")
            log_proba, facts = calibrate(run, problem)
            scores = evaluate(problem.test.labels, log_proba, baseline(run, problem), options.resamples)
            results.append([{**run._asdict(), "n_test": len(problem.test.labels), **scores, **facts}])


def baseline(run, problem):
    """Log-probabilities of temperature scaling on the same calibration samples."""
    samples = problem.calibration.part(run.n_calibration, run.seed)
    fitted = TemperatureScaling(classes=problem.classes).fit(samples.logits, samples.labels)
    return fitted.predict_log_proba(problem.test.logits)


def summarise(options):
    """Write the tables and figures beside the results."""
    results = means(pd.read_csv(options.out))
    text = report(results)
    options.out.with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)
    print("\n".join(map(str, draw(results, options.out))))


def parse_options(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_argument(parser)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS[:-1], help="default: all but imagenet")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS, metavar="METHOD", help="%(choices)s")
    parser.add_argument("--gammas", nargs="+", type=float, default=[0.0, 0.5, 1.0, 2.0, 3.0, 5.0])
    parser.add_argument("--sizes", nargs="+", type=int, default=[500, 1000, 2500, 5000], help="calibration images")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of what is random (default: %(default)s)")
    epochs, precision = REFERENCE_SETTINGS["max_epochs"], REFERENCE_SETTINGS["precision"]
    parser.add_argument("--epochs", type=int, default=epochs, help="of the reference (default: %(default)s)")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default=precision, help="of the reference")
    parser.add_argument("--imagenet", type=Path, metavar="DIR", help="a subfolder of images for each class")
    parser.add_argument("--imagenet-network", default="resnet50", help="efficientnet_lite0, or torchvision's name")
    parser.add_argument("--num-workers", type=int, default=0, help="processes that read ImageNet's files")
    parser.add_argument("--resamples", type=int, default=1000, help="bootstrap replicates (default: %(default)s)")
    parser.add_argument("--n-images", type=int, help="use the first images only, for a quick look")
    parser.add_argument("--threads", type=int, default=1, help="torch's threads (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/thesis.csv"), help="CSV file to append to")
    parser.add_argument("--summary", action="store_true", help="compute nothing: tables and figures of the file")
    options = parser.parse_args(arguments)
    if "imagenet" in options.parts and options.imagenet is None:
        parser.error("--parts imagenet needs --imagenet DIR")
    return options


def main(arguments=None):
    options = parse_options(arguments)
    torch.set_num_threads(options.threads)
    if not options.summary:
        compute(options)
    summarise(options)


if __name__ == "__main__":
    main()
