#!/usr/bin/env python3
"""Real text through a real encoder: Kiln and transformers on PyTorch in turns, the same cores, the same number of threads.

    scripts/compare_pytorch_real.py --kiln KILN --weights FOLDER --data FOLDER [--rounds 3] [--threads 2] [--python OTHER] [NAME ...]

FOLDER with weights holds multilingual-e5-small laid out as an ERNIE-M (12 layers, hidden size 384); the data are XNLI's, as datasets/xnli.toml lays them
out. transformers runs the same weights as a BERT, which they are, with scaled_dot_product_attention and the fused AdamW. What is compared:

    epoch      training steps of 16 pairs of MNLI in random order: both sides with their defaults; transformers pads to the longest of the 16
    grouped    the same, transformers' rows in the order of its LengthGroupedSampler (`group_by_length=True`)
    encode     pooled vectors of single sentences, a second: of transformers without the time for cutting them into pieces, sorted by length
    start      seconds from the start of the process to the end of its first step, pieces cut before

--python names another Python with another PyTorch and transformers, which has its turn too. Each side is a process of its own. Times of many steps or
sentences are those of all but the first.
"""

import argparse
import gzip
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
STEPS, WARM_UP, BATCH = 40, 5, 16
SENTENCES = [200, 2200]
LENGTH = 128
# Of what Kiln evaluates.
FEW = ['data.eval_languages=["en"]', "data.max_eval_rows=10"]
# Kiln's words for an encoder, and those of transformers' BERT.
NAMES = [("embeddings.layer_norm", "embeddings.LayerNorm"), ("encoder.layers.", "encoder.layer."),
         ("self_attn.self_attn.q_proj", "attention.self.query"), ("self_attn.self_attn.k_proj", "attention.self.key"),
         ("self_attn.self_attn.v_proj", "attention.self.value"), ("self_attn.out_proj", "attention.output.dense"),
         ("norm1", "attention.output.LayerNorm"), ("linear1", "intermediate.dense"), ("linear2", "output.dense"), ("norm2", "output.LayerNorm")]


def pairs(data, split):
    """Premises, hypotheses and labels of English rows."""
    names = {"train": ["mnli_train/multinli.train.en.tsv.gz", "multinli.train.en.tsv.gz", "multinli.train.en.tsv"], "dev": ["xnli/dev-en.tsv", "dev-en.tsv"]}
    file = next(data / name for name in names[split] if (data / name).exists())
    opened = gzip.open(file, "rt", encoding="utf-8") if file.suffix == ".gz" else open(file, encoding="utf-8")
    with opened:
        rows = [line.rstrip("\n").split("\t") for line in opened][1 if split == "train" else 0:]
    return [row for row in rows if len(row) == 3]


def bert(given, head):
    """The encoder as a BERT of transformers."""
    import torch
    from safetensors.torch import load_file
    from transformers import BertConfig, BertForSequenceClassification, BertModel

    words = json.loads((given.weights / "config.json").read_text())
    kept = {key: words[key] for key in ["vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"]}
    config = BertConfig(**kept, max_position_embeddings=512, pad_token_id=1, num_labels=3, attn_implementation="sdpa")
    model = BertForSequenceClassification(config) if head else BertModel(config)
    state = {}
    for name, values in load_file(given.weights / "model.safetensors").items():
        if name.endswith("position_embeddings.weight"):
            values = values[2:]
        for ours, theirs in NAMES:
            name = name.replace(ours, theirs)
        name = name.removeprefix("ernie_m.")
        state["bert." + name if head else name] = values
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected and all(re.search("pooler|classifier|token_type|position_ids", name) for name in missing), (missing, unexpected)
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    return model


def pieces(given):
    """What cuts a row into ids: transformers' own tokenizer."""
    from transformers import ErnieMTokenizer
    from transformers.utils import logging

    logging.set_verbosity_error()  # it warns at each pair that it cuts
    tokenizer = ErnieMTokenizer(str(given.weights / "sentencepiece.bpe.model"), vocab_file=str(given.weights / "vocab.txt"))
    return lambda row: tokenizer(*row, truncation=True, max_length=LENGTH)["input_ids"]


def padded(rows):
    import torch

    longest = max(map(len, rows))
    ids = torch.tensor([row + [1] * (longest - len(row)) for row in rows])
    return {"input_ids": ids, "attention_mask": (ids != 1).long()}


def cached(given, split, count, fields):
    """The first rows as ids, cut once and kept."""
    file = given.work / f"{split}-{count}-{fields}.json"
    if not file.exists():
        encode = pieces(given)
        file.write_text(json.dumps([encode(row[:fields]) for row in pairs(given.data, split)[:count]]))
    return json.loads(file.read_text())


def trained(given, grouped=False, steps=STEPS):
    import torch

    ids = cached(given, "train", 4000, 2)
    labels = [["entailment", "neutral", "contradiction"].index(row[2].replace("contradictory", "contradiction")) for row in pairs(given.data, "train")[:4000]]
    order = list(range(len(ids)))
    random.Random(1).shuffle(order)
    if grouped:
        # transformers.trainer_pt_utils.get_length_grouped_indices: sorted within fifty batches.
        window = 50 * BATCH
        order = [row for at in range(0, len(order), window) for row in sorted(order[at:at + window], key=lambda row: -len(ids[row]))]
        batches = [order[at:at + BATCH] for at in range(0, len(order), BATCH)]
        random.Random(2).shuffle(batches)
        order = [row for batch in batches for row in batch]
    model = bert(given, True).train()
    decayed = [p for p in model.parameters() if p.dim() > 1]
    groups = [{"params": decayed, "weight_decay": 0.01}, {"params": [p for p in model.parameters() if p.dim() < 2], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=5e-5, fused=True)
    began = time.perf_counter()
    for step in range(steps):
        if step == WARM_UP:
            began = time.perf_counter()
        rows = order[step * BATCH:][:BATCH]
        loss = model(**padded([ids[row] for row in rows]), labels=torch.tensor([labels[row] for row in rows])).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    assert loss.isfinite()
    return (time.perf_counter() - began) / max(steps - WARM_UP, 1)


def encoded(given):
    import torch

    ids = sorted(cached(given, "dev", SENTENCES[1] - SENTENCES[0], 1), key=len, reverse=True)
    model = bert(given, False).eval()
    with torch.inference_mode():
        for _ in range(2):  # the first is to get warm
            began = time.perf_counter()
            for at in range(0, len(ids), 32):
                batch = padded(ids[at:at + 32])
                mask = batch["attention_mask"].unsqueeze(2)
                torch.nn.functional.normalize((model(**batch).last_hidden_state * mask).sum(1) / mask.sum(1))
    return len(ids) / (time.perf_counter() - began)


def kiln_trains(given, folder, steps, *more):
    """Seconds of a step after the first window; without a number of steps, those from the start to the end of the first, after which it is killed."""
    command = [given.kiln, "train", "ernie-m/xnli-cross-lingual-transfer", f"model.weights={given.weights}", "model.piece_splitting=huggingface",
               f"data.root={given.data}", f"data.max_seq_length={LENGTH}", f"data.cache={given.work / 'tokens'}", f"training.max_steps={steps or 1_000_000}",
               "training.batch_size=16", "optimizer.weight_decay=0.01", "optimizer.layerwise_decay=1.0", "optimizer.max_grad_norm=1.0",
               f"training.logging_steps={WARM_UP}", "evaluation.every_steps=1000000", "checkpoint.every_steps=1000000", f"output.dir={folder}", *more]
    began, told = time.monotonic(), []
    process = subprocess.Popen(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=HERE.parent)
    for line in process.stderr:
        told.append(line)
        if steps is None and re.search(r"step \d+/", line):
            process.kill()
            process.wait()
            return time.monotonic() - began
    if process.wait():
        sys.exit("".join(told))
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return statistics.mean([line["seconds_per_step"] for line in lines if "seconds_per_step" in line][1:])


def kiln(given, name):
    with tempfile.TemporaryDirectory(dir=given.work) as folder:
        folder = Path(folder)
        if name in ("epoch", "grouped"):
            return kiln_trains(given, folder / "run", STEPS, *FEW)
        if name == "start":
            return kiln_trains(given, folder / "run", None, "training.logging_steps=1", *FEW)
        seconds = []
        for count in SENTENCES:
            sentences = [row[0] for row in pairs(given.data, "dev")[:count]]
            (folder / "texts.txt").write_text("\n".join(sentences) + "\n", encoding="utf-8")
            began = time.monotonic()
            command = [given.kiln, "encode", given.weights, "--input", folder / "texts.txt", "--output", folder / "vectors.safetensors", "--pooling", "mean", "--normalize"]
            subprocess.run(list(map(str, command)), check=True, capture_output=True)
            seconds.append(time.monotonic() - began)
        return (SENTENCES[1] - SENTENCES[0]) / (seconds[1] - seconds[0])


WORKS = {
    # Unit, whether more is better, PyTorch's side, Kiln's side.
    "epoch": ("s a step", False, trained),
    "grouped": ("s a step", False, lambda given: trained(given, True)),
    "encode": ("sentences/s", True, encoded),
    "start": ("s", False, lambda given: trained(given, steps=1)),
}


def pytorch(given, name, python):
    """In a process of its own, whose start counts where the start is what is asked for."""
    command = [python, __file__, "--pytorch", name, "--weights", given.weights, "--data", given.data, "--work", given.work]
    began = time.monotonic()
    found = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if found.returncode:
        sys.exit(found.stderr)
    return time.monotonic() - began if name == "start" else float(found.stdout.splitlines()[-1])


def versions(python):
    """Of a Python's PyTorch and transformers."""
    command = [python, "-c", "import torch, transformers; print(torch.__version__, transformers.__version__, sep=', ')"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kiln", type=Path)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--python", action="append", default=[sys.executable], help="another Python with another PyTorch; may be given again")
    parser.add_argument("--work", type=Path, help="where pieces are kept; else a temporary folder")
    parser.add_argument("--pytorch", help=argparse.SUPPRESS)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(WORKS)}; else all")
    given = parser.parse_args()
    for name in ["kiln", "weights", "data", "work"]:
        setattr(given, name, getattr(given, name) and getattr(given, name).resolve())
    if given.pytorch:
        print(WORKS[given.pytorch][2](given))
        return
    if unknown := [name for name in given.names if name not in WORKS]:
        parser.error(f"there is no {unknown[0]}; there are {', '.join(WORKS)}")
    if not given.kiln or not given.kiln.is_file():
        parser.error("--kiln names no file; build with `cargo build --release`")
    cores = sorted(os.sched_getaffinity(0))[: given.threads]
    os.sched_setaffinity(0, cores)
    os.environ |= {"RAYON_NUM_THREADS": str(len(cores)), "OMP_NUM_THREADS": str(len(cores)), "MKL_NUM_THREADS": str(len(cores))}
    with tempfile.TemporaryDirectory() as folder:
        given.work = given.work or Path(folder)
        given.work.mkdir(parents=True, exist_ok=True)
        print(f"{len(cores)} threads; medians of {given.rounds} rounds\n")
        print("| work | unit | PyTorch, transformers | Kiln | PyTorch | times as fast | in single rounds |\n|---|---|---|---|---|---|---|")
        for name in given.names or WORKS:
            unit, more, _ = WORKS[name]
            rounds = {python: [] for python in given.python}
            for number in range(given.rounds + 1):
                ours = kiln(given, name)
                for python, found in rounds.items():
                    found.append((ours, pytorch(given, name, python)))
                    print(f"{name}, round {number}: Kiln {ours:.3f}, PyTorch {found[-1][1]:.3f} {unit}", file=sys.stderr, flush=True)
            for python, found in rounds.items():
                found = found[1:]  # the first fills caches
                ratios = [ours / theirs if more else theirs / ours for ours, theirs in found]
                ours, theirs = map(statistics.median, zip(*found))
                print(f"| {name} | {unit} | {versions(python)} | {ours:,.3g} | {theirs:,.3g} | **{statistics.median(ratios):.2f}** "
                      f"| {min(ratios):.2f} to {max(ratios):.2f} |", flush=True)


if __name__ == "__main__":
    main()
