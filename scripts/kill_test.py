"""Kills a training run with SIGKILL at random moments and compares what it ends with, byte for byte, with an undisturbed run.

    python3 scripts/kill_test.py [--runs 20] [--kiln PATH] [--recipe RECIPE] [key=value ...]

The recipe (the quickstart unless another is given) is trained once undisturbed. Then it is trained again in another folder, killed
`--runs` times at moments spread over the whole run, each time started anew, and at last left to finish. Overrides are
passed on to Kiln, so that a short try is `python3 scripts/kill_test.py --runs 5 training.max_steps=60 evaluation.every_steps=20`.

Needs nothing but Python. Exit code 0 if all is the same, 1 if not.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
# How long things took is not the same twice.
TIMES = {"seconds", "seconds_per_step", "tokens_per_second"}
EXACT = ["last/model.safetensors", "best/model.safetensors", "best/config.json"]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=20, help="how often to kill (default: 20)")
    parser.add_argument("--kiln", type=Path, default=REPOSITORY / "target/release/kiln", help="the command to test")
    parser.add_argument("--recipe", default="recipes/quickstart.toml")
    parser.add_argument("--seed", type=int, help="of the moments; printed, so that a failure can be repeated")
    parser.add_argument("--folder", type=Path, help="keep the two runs in this folder (default: a temporary one)")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    return parser.parse_args()


class Runner:
    def __init__(self, given, folder):
        self.kiln, self.recipe, self.overrides, self.folder = given.kiln.resolve(), given.recipe, given.overrides, folder

    def start(self, name):
        command = [self.kiln, "train", self.recipe, *self.overrides]
        # A cache of its own: making it is one of the things to be killed in.
        command += [f"data.cache={self.folder / (name + '-cache')}", f"output.dir={self.folder / name}"]
        with open(self.folder / f"{name}.stderr", "ab") as log:
            return subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log)

    def finish(self, name):
        began = time.monotonic()
        code = self.start(name).wait()
        if code != 0:
            sys.stderr.write((self.folder / f"{name}.stderr").read_text(errors="replace")[-4000:])
            sys.exit(f"kiln ended with code {code}")
        return time.monotonic() - began


def kill_again_and_again(runner, kills, seconds):
    """Kills `kills` times; what is left of the run at each kill is unknown, so the moments are drawn from a share of it."""
    run = runner.folder / "killed"
    killed = 0
    for number in range(1, kills + 1):
        process = runner.start("killed")
        # Half of the kills fall anywhere in two shares of the run, so that it gets on; half into the start, where folders are
        # cleaned up and checkpoints read.
        longest = 2 * seconds / kills if number % 2 else min(1.0, seconds / 4)
        try:
            process.wait(timeout=random.uniform(0.0, longest))
        except subprocess.TimeoutExpired:
            process.kill()
            killed += 1
        code = process.wait()
        steps = sorted(path.name for path in run.glob("checkpoints/step-*"))
        print(f"{number:3}  code {code:4}  newest checkpoint: {steps[-1] if steps else 'none'}", flush=True)
        if code not in (0, -9):
            sys.stderr.write((runner.folder / "killed.stderr").read_text(errors="replace")[-4000:])
            sys.exit(f"kiln ended by itself with code {code}")
    return killed


def without_times(value):
    if isinstance(value, dict):
        return {key: without_times(inner) for key, inner in value.items() if key not in TIMES}
    return [without_times(inner) for inner in value] if isinstance(value, list) else value


def compare(expected, found):
    """The names of what is not the same in two run folders."""
    different = [name for name in EXACT if (expected / name).read_bytes() != (found / name).read_bytes()]
    parsed = {
        "metrics.jsonl": lambda text: [json.loads(line) for line in text.splitlines()],
        "eval.json": json.loads,
        "best/eval.json": json.loads,
    }
    for name, parse in parsed.items():
        left, right = (without_times(parse((folder / name).read_text())) for folder in (expected, found))
        if left != right:
            different.append(name)
    newest = max(path.name for path in (expected / "checkpoints").glob("step-*"))
    for name in ("model.safetensors", "optimizer.safetensors"):
        path = Path("checkpoints") / newest / name
        if not (found / path).exists() or (expected / path).read_bytes() != (found / path).read_bytes():
            different.append(str(path))
    return different


def main():
    given = arguments()
    if not os.access(given.kiln, os.X_OK):
        sys.exit(f"{given.kiln} is not there: build it with `cargo build --release`, or name it with --kiln")
    seed = given.seed if given.seed is not None else random.SystemRandom().randrange(2**32)
    random.seed(seed)
    print(f"seed {seed}")
    with tempfile.TemporaryDirectory(prefix="kiln-kill-") as temporary:
        folder = (given.folder or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / "killed").exists() or (folder / "undisturbed").exists():
            sys.exit(f"{folder} holds an older test")
        runner = Runner(given, folder)
        seconds = runner.finish("undisturbed")
        print(f"undisturbed: {seconds:.1f} s")
        killed = kill_again_and_again(runner, given.runs, seconds)
        runner.finish("killed")
        different = compare(folder / "undisturbed", folder / "killed")
    if different:
        sys.exit(f"killed {killed} times: NOT the same: {', '.join(different)}")
    if given.runs and not killed:
        sys.exit("nothing was killed: the run is too short for this test")
    print(f"killed {killed} times: the same to the byte")


if __name__ == "__main__":
    main()
