"""The table of scripts/gpu_check.sh: a training step of each family in Kiln, and the same shape in PyTorch, one after the other.

    python3 scripts/gpu_check_table.py --kiln KILN --backend cuda --work FOLDER --report FILE --seconds 200 [--small]

Kiln trains from nothing on made-up words, one token each, in rows that are exactly full. Its times are those of metrics.jsonl without the first
window, in which kernels are compiled and chosen. Each row of the table is written as soon as it is there. PyTorch's side is
scripts/gpu_check_pytorch.py, in a process of its own before Kiln's.
"""

import argparse
import importlib.util
import json
import random
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from string import ascii_lowercase

HERE = Path(__file__).resolve().parent
# Products of dense matrices per second, bf16 and TF32, as NVIDIA's data sheets have them.
PEAKS = {"H200": (989e12, 494e12), "H100": (989e12, 494e12), "A100": (312e12, 156e12), "L40S": (362e12, 183e12), "4090": (165e12, 83e12)}
SPECIALS = {"ernie": ["[PAD]", "[CLS]", "[SEP]", "[MASK]", "[UNK]"], "elmo": ["<S>", "</S>", "<UNK>"],
            "ernie-m": ["[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]"], "rembert": ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]}


@dataclass
class Case:
    """A training step. Of ELMo, `hidden` is the width of the cells, `embedding` that of words and outputs, and rows are streams."""

    name: str
    family: str
    rows: int
    tokens: int
    words: int
    hidden: int
    layers: int
    heads: int = 0
    embedding: int = 0
    positions: int = 512
    act: str = "gelu"
    # How many of the words the data has, of which Kiln then trains no others; 0 trains all.
    met: int = 0
    # Rows have from so many tokens to `tokens`; 0 for rows that are full.
    least: int = 0

    def label(self):
        tokens = f"{self.least} to {self.tokens}" if self.least else self.tokens
        return f"{self.name}, {self.rows} x {tokens}" + (f", {self.met:,} of its words met" if self.met else "")

    def products(self):
        """Floating-point operations of a step that are products of matrices: 6 for a weight and token, and attention's."""
        tokens = self.rows * self.tokens
        if self.family == "elmo":
            layer = 2 * self.embedding * 4 * self.hidden + self.hidden * self.embedding
            return 6 * tokens * 2 * (self.layers * layer + self.embedding * self.words)
        layer = 12 * self.hidden**2
        projection = self.embedding * self.hidden
        return 6 * tokens * (self.layers * layer + projection) + 12 * tokens * self.tokens * self.hidden * self.layers


# The most telling first: time may run out.
LARGE = [
    Case("ERNIE-base", "ernie", 32, 512, words=18_000, hidden=768, layers=12, heads=12, positions=513, act="relu"),
    Case("RemBERT", "rembert", 32, 256, words=250_300, hidden=1152, layers=32, heads=18, embedding=256),
    Case("ERNIE-M-base", "ernie-m", 32, 256, words=250_002, hidden=768, layers=12, heads=12, positions=514),
    Case("ELMo", "elmo", 128, 20, words=52_445, hidden=4096, layers=2, embedding=512),
    Case("ERNIE-M-base", "ernie-m", 16, 128, words=250_002, hidden=768, layers=12, heads=12, positions=514),
    Case("RemBERT", "rembert", 16, 128, words=250_300, hidden=1152, layers=32, heads=18, embedding=256),
]
SMALL = [
    Case("ERNIE, small", "ernie", 4, 32, words=1000, hidden=64, layers=2, heads=4, positions=66, act="relu"),
    Case("RemBERT, small", "rembert", 4, 32, words=1000, hidden=64, layers=2, heads=4, embedding=32, positions=66),
    Case("ERNIE-M, small", "ernie-m", 4, 32, words=1000, hidden=64, layers=2, heads=4, positions=66),
    Case("ELMo, small", "elmo", 4, 10, words=1000, hidden=64, layers=2, embedding=32),
]


def field(number, data):
    """A field of a protocol buffer: bytes, a float's four, or a small whole number."""
    def varint(value):
        low = bytes([value & 127 | (128 if value > 127 else 0)])
        return low + varint(value >> 7) if value > 127 else low
    if isinstance(data, int):
        return varint(number << 3) + varint(data)
    return varint(number << 3 | 2) + varint(len(data)) + data


def sentencepiece(specials, words):
    """A unigram model whose pieces are whole words, all as likely."""
    score = bytes([2 << 3 | 5, 0, 0, 128, 191])  # -1.0
    kinds = [(text, 2 if text == "[UNK]" else 3) for text in specials] + [("▁" + word, 1) for word in words]
    pieces = [field(1, field(1, text.encode()) + score + field(3, kind)) for text, kind in kinds]
    return b"".join(pieces) + field(2, field(3, 1)) + field(3, field(1, b"identity"))


def write_data(case, folder):
    """A tokenizer of exactly `case.words` tokens, and texts of words that it knows."""
    folder.mkdir(parents=True, exist_ok=True)
    specials = SPECIALS[case.family]
    # Four letters each, so that no word is part of another.
    words = ["".join(letters) for letters, _ in zip(product(ascii_lowercase, repeat=4), range(case.words - len(specials)))]
    marked = [("▁" if case.family == "ernie-m" else "") + word for word in words]
    (folder / "vocab.txt").write_text("\n".join(specials + marked) + "\n")
    if case.family in ("ernie-m", "rembert"):
        name = "sentencepiece.bpe.model" if case.family == "ernie-m" else "sentencepiece.model"
        (folder / name).write_bytes(sentencepiece(specials, words))
    drawn = random.Random(1)
    # Rows are cut to the length that is asked for; two tokens are added to each.
    length = lambda: drawn.randint(case.least, case.tokens) - 2 if case.least else case.tokens
    texts = [" ".join(drawn.choices(words[: case.met or None], k=length())) for _ in range(8 * case.rows)]
    (folder / "texts.txt").write_text("\n".join(texts) + "\n")
    rows = (json.dumps({"text": text, "label": "ab"[number % 2]}) for number, text in enumerate(texts))
    (folder / "rows.jsonl").write_text("\n".join(rows) + "\n")
    # What is met beside the rows of training stands in rows to evaluate, which nothing gets to.
    met = [" ".join(words[at:at + case.tokens]) for at in range(0, case.met, case.tokens)] or texts
    (folder / "dev.jsonl").write_text("".join(json.dumps({"text": text, "label": "a"}) + "\n" for text in met))
    part = 'files = "%s.jsonl"\nformat = "jsonl"\ncolumns = { text = "text", label = "label" }\n'
    facts = 'title = "made up"\nhomepage = "none"\nlicence = "none"\nlanguages = ["en"]\nlabels = ["a", "b"]\n'
    (folder / "card.toml").write_text(f"{facts}[[train]]\n{part % 'rows'}[[dev]]\n{part % 'dev'}")


# Steps that no run gets to.
NEVER = 1_000_000


def to_the_end(folder, device):
    """How a recipe ends: nothing is evaluated or kept on the way."""
    return f"""[schedule]
name = "constant"
[evaluation]
every_steps = {NEVER}
[checkpoint]
every_steps = {NEVER}
[device]
{device}
[output]
dir = {json.dumps(str(folder / "run"))}
"""


def recipe(case, folder, device, window):
    """A recipe as text; nothing is evaluated or saved before it is killed."""
    q = json.dumps
    config, training = {"hidden_size": case.hidden, "num_hidden_layers": case.layers}, ""
    if case.family == "elmo":
        config |= {"projection_dim": case.embedding, "dropout": 0.1}
        data = f'[task]\nname = "bidirectional-lm"\n[streams]\ntrain = [{q(str(folder / "texts.txt"))}]\nnum_steps = {case.tokens}\n' \
               f'dev = [{q(str(folder / "texts.txt"))}]\n'
        optimizer = 'name = "adagrad"\nlearning_rate = 0.2\nepsilon = 0.0\ninitial_accumulator_value = 1.0\nmax_grad_norm = 10.0\n'
    else:
        config |= {"vocab_size": case.words, "num_attention_heads": case.heads, "intermediate_size": 4 * case.hidden,
                   "max_position_embeddings": case.positions, "hidden_act": case.act,
                   "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}
        config |= {"input_embedding_size": case.embedding} if case.embedding else {}
        data = f'[task]\nname = "sequence-classification"\n[data]\ndataset = {q(str(folder / "card.toml"))}\nroot = {q(str(folder))}\n' \
               f'max_seq_length = {case.tokens}\ncache = {q(str(folder / "cache"))}\n'
        optimizer = "learning_rate = 1e-5\nweight_decay = 0.01\nmax_grad_norm = 1.0\n"
        training = "" if case.met else "compact_vocabulary = false\n"
    config = "\n".join(f"{key} = {q(value)}" for key, value in config.items())
    return f"""[model]
architecture = {q(case.family)}
tokenizer = {q(str(folder))}
[model.config]
{config}
{data}
[training]
max_steps = {NEVER}
batch_size = {case.rows}
logging_steps = {window}
{training}[optimizer]
{optimizer}
{to_the_end(folder, device)}"""


class Memory:
    """The most memory that is used while a process runs, in bytes: the card's, by nvidia-smi, or the process's own."""

    def __init__(self, on_card):
        self.start = self.on_card() if on_card else None
        self.most = 0

    @staticmethod
    def on_card():
        query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
        return int(subprocess.run(query, capture_output=True, text=True, check=True).stdout.split()[0]) << 20

    def look(self, pid):
        if self.start is not None:
            now = self.on_card() - self.start
        else:
            found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
            now = int(found[1]) << 10 if found else 0
        self.most = max(self.most, now)


def run_kiln(given, case, precision, limit, write_data=write_data, recipe=recipe):
    """Trains until three windows are logged; returns what the row says, or why there is none."""
    folder = given.work / case.label().replace(" ", "").replace(",", "-")
    if not folder.exists():
        write_data(case, folder)
    subprocess.run(["rm", "-rf", str(folder / "run")], check=True)
    window = 2 if given.small else 10
    file = folder / "recipe.toml"
    file.write_text(recipe(case, folder, f'backend = "{given.backend}"\nprecision = "{precision}"', window))
    metrics, lines = folder / "run/metrics.jsonl", []
    began, first = time.monotonic(), None
    memory = Memory(given.backend == "cuda")
    with open(folder / "stderr.txt", "w") as log:
        process = subprocess.Popen([given.kiln, "train", file], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=HERE.parent)
    try:
        while len(lines) < 3 and time.monotonic() - began < limit and process.poll() is None:
            time.sleep(0.25)
            memory.look(process.pid)
            text = metrics.read_text() if metrics.exists() else ""
            lines = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
            first = first or (time.monotonic() - began if lines else None)
    finally:
        process.kill()
        process.wait()
    said = (folder / "stderr.txt").read_text(errors="replace")
    print(f"--- kiln, {case.label()}, {precision}\n{said}", file=sys.stderr, flush=True)
    times = sorted(line["seconds_per_step"] for line in lines[1:])
    if not times:
        problems = [line.strip() for line in said.splitlines() if "×" in line or "panicked" in line]
        if process.returncode != -9:
            return f"ended with code {process.returncode}: {' '.join(problems) or said[-200:].strip()}"
        return f"no step was timed in its {limit:.0f} s" + (f"; the first {window} steps took {first:.0f}" if first else "")
    return {"seconds": times[len(times) // 2], "memory": memory.most, "note": f"{first:.0f} s until {window} steps were done"}


def row(given, case, precision, side, got):
    if isinstance(got, str):
        return f"| {case.label()} | {precision} | {side} | | | | | {got} |"
    seconds = got["seconds"]
    peak = next((peaks[precision == "f32"] for name, peaks in PEAKS.items() if name in given.card), None)
    share = f"{100 * case.products() / seconds / peak:.1f} %" if peak else ""
    return (f"| {case.label()} | {precision} | {side} | {1000 * seconds:.1f} | {case.rows * case.tokens / seconds:,.0f} | {share} "
            f"| {got['memory'] / 2**30:.2f} | {got['note']} |")


def pytorch_rows(given, limit):
    """Rows of PyTorch's side as they come."""
    if importlib.util.find_spec("torch") is None:
        yield None, None, "skipped: this Python has no PyTorch"
        return
    command = [sys.executable, HERE / "gpu_check_pytorch.py"] + ["--small"] * given.small
    process = subprocess.Popen(["timeout", str(int(limit)), *map(str, command)], stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        got = json.loads(line)
        yield got.pop("label"), got.pop("precision"), got.get("why") or got
    code = process.wait()
    if code:
        yield None, None, f"it ran out of its {limit:.0f} s" if code == 124 else f"it ended with code {code}, see log.txt"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kiln", type=Path, required=True)
    parser.add_argument("--backend", required=True)
    parser.add_argument("--precisions", default="f32", help="those that kiln devices lists, with spaces between")
    parser.add_argument("--card", default="", help="its name, for the peak")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--report", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=200.0)
    parser.add_argument("--small", action="store_true")
    given = parser.parse_args()
    end = time.monotonic() + given.seconds
    cases = SMALL if given.small else LARGE

    def say(line):
        with open(given.report, "a") as report:
            print(line, file=report)
        print(line, flush=True)

    say("| step | precision | side | ms a step | tokens/s | of the peak | memory, GiB | note |\n|---|---|---|---|---|---|---|---|")
    by_label = {case.label(): case for case in cases}
    for label, precision, got in pytorch_rows(given, min(90.0, given.seconds / 3)):
        say(row(given, by_label[label], precision, "PyTorch", got) if label else f"| the rest | | PyTorch | | | | | {got} |")
    for case in cases:
        for precision in ["bf16", "f32"]:
            left = end - time.monotonic()
            if precision not in given.precisions.split():
                got = f"skipped: {given.backend} has no {precision} here"
            elif left < 5:
                got = "skipped: no time was left"
            else:
                # The first cases compile the most.
                got = run_kiln(given, case, precision, max(left / 2, min(left, 40.0)))
            say(row(given, case, precision, "Kiln", got))


if __name__ == "__main__":
    main()
