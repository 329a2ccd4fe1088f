#!/usr/bin/env python3
"""Converts models there and back with the real libraries, and compares tensors and outputs.

    scripts/check_conversions.py --kiln KILN --data FOLDER [--transformers4 PYTHON] [--transformers5 PYTHON] [--paddle PYTHON]
                                 [--allennlp PYTHON] [--sentence PYTHON] [--onnx PYTHON] [--tokenize TOKENIZE]
                                 [--only WORD] [--json FILE] [--work FOLDER]

KILN is the binary; FOLDER has golden/ and data/ (KILN_TEST_DATA). Each PYTHON is an interpreter with that library and safetensors: transformers 4.46.3,
the newest 5.x, PaddleNLP 2.8.1, AllenNLP 2.10.1 with h5py, sentence-transformers, optimum-onnx with onnxruntime. The script itself needs numpy and
safetensors. What is checked, for each family and head:

    tensors       a small random model of the library -> `kiln convert` -> the library: the bytes of all tensors, no missing or unexpected keys,
                  and `kiln encode` within 2e-5 of the library's outputs
    to hf, paddle a model that Kiln trained for a few steps on real rows -> the library: its outputs of ids within 2e-5 of `kiln encode`;
                  where Kiln does not train such a head, the library's model
    texts         the same of texts through AutoTokenizer
    copy          the same for ERNIE-M as XLM-R and ERNIE as BERT
    sentence-transformers, ONNX   mean-pooled vectors of texts, and outputs in onnxruntime, of BERT, XLM-R and the copies
    golden/...    each golden checkpoint to each target and back: the bytes of all tensors
    precision     sharded files of f32, bf16 and f16: the tensors that the library reads are the original's, rounded once

With --tokenize (the binary of the example `tokenize`) scripts/check_tokenizers.py runs as well. A check whose library was not given is skipped, and said
to be. Ends with 1 if a check failed.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from conversions import worker

HERE = Path(__file__).resolve().parent
LIBRARIES = ["transformers4", "transformers5", "paddle", "allennlp", "sentence", "onnx"]


def serve(name):
    """This process is a library's."""
    if name == "paddle":
        from conversions.with_paddle import COMMANDS
    elif name == "allennlp":
        from conversions.with_allennlp import COMMANDS
    else:
        from conversions.with_transformers import COMMANDS
    worker.serve(COMMANDS)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--kiln", type=Path)
    parser.add_argument("--data", type=Path)
    for name in LIBRARIES:
        parser.add_argument(f"--{name}", metavar="PYTHON")
    parser.add_argument("--tokenize", type=Path)
    parser.add_argument("--only", default="", metavar="WORD", help="rows whose name begins with it, such as ernie-m/, golden/ or bert/masked-lm")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--work", type=Path, metavar="FOLDER", help="where models are made; left out, a temporary folder")
    given = parser.parse_args()
    if not given.serve and not (given.kiln and given.data):
        parser.error("--kiln and --data are needed")
    return given


def tokenizers(given, results):
    """Counts of check_tokenizers.py, a row a tokenizer."""
    for name in ("transformers4", "transformers5"):
        column, python = f"ids, transformers {name[-1]}", getattr(given, name)
        if not (given.tokenize and python):
            results.skipped("tokenizers", column, f"--tokenize and --{name} are needed")
            continue
        with tempfile.NamedTemporaryFile(suffix=".json") as file:
            command = [python, HERE / "check_tokenizers.py", given.tokenize, given.data, file.name]
            ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, encoding="utf-8")
            print(ended.stdout)
            if ended.returncode != 0:
                results.failed("tokenizers", column, f"check_tokenizers.py ended with {ended.returncode}")
                continue
            for row in json.loads(Path(file.name).read_text(encoding="utf-8")):
                tokenizer_row(results, f"tokenizers/{row['name']}", column, row)


def tokenizer_row(results, name, column, row):
    """Rows with the same ids, and those whose difference check_tokenizers.py explains."""
    explained = {cause: count for cause, count in row["causes"].items() if not cause.startswith("none found")}
    why = "; ".join(f"{count} rows: {cause}" for cause, count in row["causes"].items())
    cell = f"{row['equal']}/{row['rows']}" + (f", goldens {row['golden'][0]}+{row['golden'][1]}/{row['golden'][2]}" if row.get("golden") else "")
    if "opens" in row:
        results.skipped(name, column, row["opens"])
    elif row["equal"] + sum(explained.values()) < row["rows"]:
        results.failed(name, column, f"{cell}: {why}")
    else:
        results.passed(name, column, cell, why)


def main():
    given = arguments()
    if given.serve:
        serve(given.serve)
        return
    from conversions import checks, goldens, precision
    from conversions.kiln import Kiln
    from conversions.results import FAILED, PASSED, SKIPPED, Results

    with tempfile.TemporaryDirectory() as temporary:
        work = (given.work or Path(temporary)).resolve()
        work.mkdir(parents=True, exist_ok=True)
        kiln, results = Kiln(given.kiln, given.data.resolve(), work), Results()
        pythons = {name: getattr(given, name) for name in LIBRARIES if getattr(given, name)}
        libraries = {name: worker.Library(name, python, __file__, work / f"{name}.log") for name, python in pythons.items()}
        versions = {name: library("versions") for name, library in libraries.items()}
        for name, found in versions.items():
            print(f"{name}: " + ", ".join(f"{key} {value}" for key, value in found.items()))
        families = checks.Checks(kiln, libraries, results, work)
        families.run(given.only)
        goldens.Goldens(families, given.data.resolve() / "golden").run(given.only)
        precision.check(kiln, libraries, results, work, given.only)
        if "tokenizers".startswith(given.only):
            tokenizers(given, results)
        for library in libraries.values():
            library.close()
    for columns in (checks.COLUMNS, goldens.COLUMNS, precision.COLUMNS, ["ids, transformers 4", "ids, transformers 5"]):
        if any(result["check"] in columns for result in results.found):
            print("\n" + results.table(columns))
    print(f"\n{results.count(PASSED)} checks passed, {results.count(FAILED)} failed, {results.count(SKIPPED)} were skipped")
    print("\n".join(results.reasons(PASSED) + results.reasons(FAILED) + results.reasons(SKIPPED)))
    if given.json:
        results.write(given.json, versions)
    sys.exit(1 if results.count(FAILED) else 0)


if __name__ == "__main__":
    main()
