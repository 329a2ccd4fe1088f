#!/usr/bin/env python3
"""From text to ids: Kiln and the libraries' Python in turns, the same cores, as many processes as Kiln has threads.

    scripts/compare_text.py --kiln KILN --ernie-m FOLDER --ernie FOLDER --data FOLDER --segmented FOLDER [--rounds 3] [--threads 2] [--python OTHER] [NAME ...]

FOLDER of --ernie-m holds sentencepiece.bpe.model and vocab.txt, that of --ernie ERNIE 1.0's vocab.txt; the data are XNLI's, as datasets/xnli.toml lays them
out; --segmented the sentence_file*s of Baidu's ELMo: Chinese sentences, one a line,
with spaces between their words, plain or .gz. What is compared:

    tokenizer            sentences of all languages of XNLI's dev sets to ERNIE-M's ids, a second: `kiln prepare` in the order of the text, the time of few
                         sentences taken off, and transformers' ErnieMTokenizer, the time of its start not counted
    prepare              MB of Chinese text a second to a corpus for ERNIE 1.0, without words
    prepare-segmented    the same, where the text is segmented, with whole-word marks
    prepare-jieba        the same, where jieba segments it

Of `prepare` Kiln's is the whole command, shuffling included; the other side is the algorithm of PaddleNLP's create_pretraining_data.py, without the time of its
start, with PaddleNLP's own ErnieTokenizer if the Python of that side (--python) has it, else with transformers' BertTokenizer, the one in Python. Both sides
take as much text as keeps them busy for some seconds, and rates are compared.
"""

import argparse
import gzip
import itertools
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from check_corpus import whole_words

HERE = Path(__file__).resolve().parent
SECONDS = 6.0
# Of Kiln's side: sentences, and bytes.
SENTENCES = [100_000, 3_000_000]
BYTES = 100_000_000
WORDS = {"prepare": "none", "prepare-segmented": "segmented", "prepare-jieba": "jieba"}
# A document.
LINES = 20


def write(lines, more, file):
    """Lines again and again, as long as there are to be `more` of them, as documents."""
    with open(file, "w", encoding="utf-8") as out:
        for number, line in enumerate(itertools.cycle(lines)):
            if not more(number, out):
                return
            out.write(line + "\n" + "\n" * (number % LINES == LINES - 1))


def sentences(given):
    """Of all languages in turns, so that any part has them all."""
    files = sorted((given.data / "xnli").glob("dev-*.tsv")) or sorted(given.data.glob("dev-*.tsv"))
    texts = [[cell for line in file.read_text(encoding="utf-8").split("\n") for cell in line.split("\t")[:2] if cell] for file in files]
    return [text for row in zip(*texts) for text in row]


def segmented(given):
    lines = []
    for file in sorted(given.segmented.rglob("sentence_file*")):
        with gzip.open(file, "rt", encoding="utf-8") if file.suffix == ".gz" else open(file, encoding="utf-8") as opened:
            lines += [line.strip() for line in opened if line.strip()]
    return lines


def kiln_prepares(given, recipe, text, *more):
    """Seconds of the command."""
    with tempfile.TemporaryDirectory(dir=given.work) as folder:
        command = [given.kiln, "prepare", recipe, f"corpus.input=[{json.dumps(str(text))}]", f"corpus.output={folder}/c", *more]
        began = time.monotonic()
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=HERE.parent, check=False)
        return sys.exit(done.stderr) if done.returncode else time.monotonic() - began


def kiln(given, name):
    if name == "tokenizer":
        seconds = []
        for count in SENTENCES:
            file = given.work / f"sentences-{count}.txt"
            if not file.exists():
                write(sentences(given), lambda number, _: number < count, file)
            seconds.append(kiln_prepares(given, "ernie-m/pretrain-camlm", file, f"model.tokenizer={given.ernie_m}",
                                         'corpus.languages=["en"]', "corpus.shuffle=false"))
        return (SENTENCES[1] - SENTENCES[0]) / (seconds[1] - seconds[0])
    file = given.work / f"{'words' if name == 'prepare-segmented' else 'text'}.txt"
    if not file.exists():
        lines = segmented(given)
        lines = lines if name == "prepare-segmented" else [line.replace(" ", "") for line in lines]
        write(lines, lambda _, out: out.tell() < BYTES, file)
    seconds = kiln_prepares(given, "ernie/pretrain", file, f"model.tokenizer={given.ernie}", f"corpus.words={WORDS[name]}", "corpus.sentences=newline")
    return file.stat().st_size / 1e6 / seconds


def ernie_m(given):
    """What makes ids of a sentence."""
    from transformers import ErnieMTokenizer

    tokenizer = ErnieMTokenizer(str(given.ernie_m / "sentencepiece.bpe.model"), vocab_file=str(given.ernie_m / "vocab.txt"))
    return lambda text: tokenizer.convert_tokens_to_ids(tokenizer.tokenize(text))


def ernie(given, words):
    """What makes ids of the sentences of a document, as create_pretraining_data.py does; and whose tokenizer it is."""
    lines = (given.ernie / "vocab.txt").read_text(encoding="utf-8").splitlines()
    with tempfile.TemporaryDirectory() as folder:
        vocab = Path(folder) / "vocab.txt"
        vocab.write_text("".join(line.split("\t")[0] + "\n" for line in lines), encoding="utf-8")
        try:
            import pyarrow  # noqa: F401  before paddle, which crashes otherwise
            from paddlenlp.transformers import ErnieTokenizer as Tokenizer
        except ImportError:
            from transformers import BertTokenizer as Tokenizer
        tokenizer = Tokenizer(str(vocab))
    if words == "jieba":
        import jieba

        jieba.setLogLevel("ERROR")
    cut = {"none": lambda text: [text], "segmented": lambda text: text.split(" "), "jieba": lambda text: list(jieba.cut(text))}[words]

    def document(text):
        ids = []
        for sentence in json.loads(text)["text"].split("\n"):
            found = cut(sentence.strip())
            tokens = tokenizer.tokenize("".join(found))
            ids.append(tokenizer.convert_tokens_to_ids(tokens if words == "none" else whole_words(tokens, found, 4)))
        return ids

    return document, Tokenizer.__module__.split(".")[0]


def python_works(given, name, number, ready, rates):
    """One of the processes: units a second, once all are ready."""
    if name == "tokenizer":
        work, size = ernie_m(given), lambda _: 1
        texts = sentences(given)
    else:
        work, size = ernie(given, WORDS[name])[0], lambda text: len(text.encode()) / 1e6
        lines = segmented(given)
        lines = lines if name == "prepare-segmented" else [line.replace(" ", "") for line in lines]
        texts = [json.dumps({"text": "\n".join(lines[at:at + LINES])}, ensure_ascii=False) for at in range(0, len(lines), LINES)]
    work(texts[0])
    ready.wait()
    began, done = time.perf_counter(), 0.0
    for text in itertools.cycle(texts[number * len(texts) // given.threads:] + texts):
        work(text)
        done += size(text)
        if time.perf_counter() - began > SECONDS:
            break
    rates.put(done / (time.perf_counter() - began))


def python(given, name):
    """Units a second of all processes together; of `prepare` nothing is written."""
    ready, rates = multiprocessing.Barrier(given.threads), multiprocessing.Queue()
    workers = [multiprocessing.Process(target=python_works, args=(given, name, number, ready, rates)) for number in range(given.threads)]
    for worker in workers:
        worker.start()
    total = sum(rates.get(timeout=300) for _ in workers)
    for worker in workers:
        worker.join()
    return total


def libraries(given, name):
    """The other side in its own Python."""
    command = [given.python, __file__, "--side", name, "--ernie-m", given.ernie_m, "--ernie", given.ernie, "--data", given.data,
               "--segmented", given.segmented, "--threads", given.threads]
    found = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    return sys.exit(found.stderr) if found.returncode else json.loads(found.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kiln", type=Path)
    for name in ["ernie-m", "ernie", "data", "segmented"]:
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--python", default=sys.executable, help="the other side's, if it is not this one")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    works = ["tokenizer", *WORDS]
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(works)}; else all")
    given = parser.parse_args()
    for name in ["kiln", "ernie_m", "ernie", "data", "segmented"]:
        setattr(given, name, getattr(given, name) and getattr(given, name).resolve())
    if given.side:
        whose = "transformers" if given.side == "tokenizer" else ernie(given, WORDS[given.side])[1]
        print(json.dumps([python(given, given.side), whose]))
        return
    if unknown := [name for name in given.names if name not in works]:
        parser.error(f"there is no {unknown[0]}; there are {', '.join(works)}")
    if not given.kiln or not given.kiln.is_file():
        parser.error("--kiln names no file; build with `cargo build --release`")
    cores = sorted(os.sched_getaffinity(0))[: given.threads]
    os.sched_setaffinity(0, cores)
    os.environ |= {"RAYON_NUM_THREADS": str(given.threads), "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    with tempfile.TemporaryDirectory() as folder:
        given.work = Path(folder)
        print(f"{given.threads} threads of Kiln, {given.threads} processes of Python on as many cores; medians of {given.rounds} rounds\n")
        print("| work | unit | Kiln | Python | whose tokenizer | times as fast | in single rounds |\n|---|---|---|---|---|---|---|")
        for name in given.names or works:
            unit, rounds = "sentences/s" if name == "tokenizer" else "MB/s", []
            for number in range(given.rounds):
                ours, (theirs, whose) = kiln(given, name), libraries(given, name)
                rounds.append((ours, theirs))
                print(f"{name}, round {number + 1}: Kiln {ours:,.4g}, {whose} {theirs:,.4g} {unit}", file=sys.stderr, flush=True)
            ratios = [ours / theirs for ours, theirs in rounds]
            ours, theirs = map(statistics.median, zip(*rounds))
            print(f"| {name} | {unit} | {ours:,.4g} | {theirs:,.4g} | {whose} | **{statistics.median(ratios):.1f}** | {min(ratios):.1f} to {max(ratios):.1f} |",
                  flush=True)


if __name__ == "__main__":
    main()
