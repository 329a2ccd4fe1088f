"""Kills a training run with SIGKILL at random moments and compares what it ends with, byte for byte, with an undisturbed run.

    python3 scripts/kill_test.py [--runs 20] [--kiln PATH] [--recipe RECIPE] [key=value ...]

The recipe (the quickstart unless another is given) is trained once undisturbed. Then it is trained again in another folder, killed
`--runs` times and each time started anew, and at last left to finish. Kills are spread over the steps of the run: a process is
killed once metrics.jsonl says that it has made a step behind the newest checkpoint; every fifth in its first half second, where folders
are cleaned up and checkpoints read. What fell between two checkpoints is counted. Overrides are passed on to Kiln, so that a short try
is `python3 scripts/kill_test.py --runs 5 training.max_steps=60 evaluation.every_steps=20`.

Needs nothing but Python. Exit code 0 if all is the same and a kill fell between two checkpoints, 1 if not.
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
TIMES = {"seconds", "seconds_per_step", "tokens_per_second", "rows_per_second", "data_wait_share"}
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
        # Each step is a line of metrics.jsonl: a moment that can be seen.
        command = [self.kiln, "train", self.recipe, "training.logging_steps=1", *self.overrides]
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


def steps_made(run):
    """The last step in metrics.jsonl; a line that is being written does not count."""
    try:
        lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    except FileNotFoundError:
        return 0
    kinds = (json.loads(line) for line in lines if line.endswith("\n"))
    return max((line["step"] for line in kinds if line["kind"] == "train"), default=0)


def newest_checkpoint(run):
    return max((int(path.name.removeprefix("step-")) for path in run.glob("checkpoints/step-*[0-9]")), default=0)


def kill_again_and_again(runner, kills, total):
    """Kills `kills` times, the k-th after about k shares of the `total` steps; returns how many were killed, and how many of these
    had made steps behind their newest checkpoint."""
    run = runner.folder / "killed"
    killed = between = 0
    for number in range(1, kills + 1):
        process = runner.start("killed")
        if number % 5 == 0:
            moment, deadline = total + 1, time.monotonic() + random.uniform(0.0, 0.5)
        else:
            # Beyond what the process before has written: that is not this one's.
            share = total / (kills + 1)
            moment = max(int(share * number + random.uniform(-0.5, 0.5) * share), newest_checkpoint(run) + 1, steps_made(run) + 1)
            deadline = float("inf")
        while process.poll() is None and time.monotonic() < deadline and steps_made(run) < moment:
            time.sleep(0.001)
        process.kill()
        code = process.wait()
        made, newest = steps_made(run), newest_checkpoint(run)
        killed += code != 0
        between += code != 0 and deadline == float("inf") and made > newest
        print(f"{number:3}  code {code:4}  step {made:6}  newest checkpoint {newest:6}", flush=True)
        if code not in (0, -9):
            sys.stderr.write((runner.folder / "killed.stderr").read_text(errors="replace")[-4000:])
            sys.exit(f"kiln ended by itself with code {code}")
    return killed, between


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
        killed, between = kill_again_and_again(runner, given.runs, steps_made(folder / "undisturbed"))
        runner.finish("killed")
        different = compare(folder / "undisturbed", folder / "killed")
    said = f"killed {killed} times, {between} of them between two checkpoints"
    if different:
        sys.exit(f"{said}: NOT the same: {', '.join(different)}")
    if given.runs and not between:
        sys.exit(f"{said}: this tests nothing, the run is too short or its checkpoints too close")
    print(f"{said}: the same to the byte")


if __name__ == "__main__":
    main()
