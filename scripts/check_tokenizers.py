"""Compares AutoTokenizer's ids with Kiln's, over the golden pairs and over rows of real data.

    cargo build --release --example tokenize
    python scripts/check_tokenizers.py TOKENIZE DATA [JSON]

TOKENIZE is the example's binary, DATA a folder with golden/ and data/ (KILN_TEST_DATA). Run it with each transformers that is promised
(4.46.3, and the newest 5.x): only transformers and tokenizers are needed. For each tokenizer it prints how many rows are equal, of the golden
pairs (with the file of the library that the options follow, too) and of the real rows: single texts, pairs, pairs cut to 48
tokens, texts without special tokens. Differences are sorted by their cause and the first of each are shown. The file JSON gets the counts.
"""

import gzip
import json
import os
import subprocess
import sys
import tempfile
import unicodedata
from collections import Counter
from pathlib import Path

import tokenizers
import transformers
from transformers import AutoTokenizer

ROWS = 3000
LONGEST = 48
# name, model type, folder's files, options, golden files that hold the same rules, where the real rows are from
PADDLE, HF = {"typed_specials": "paddlenlp"}, {"typed_specials": "huggingface"}
WORDS_PADDLE, WORDS_HF = {"word_splitting": "paddlenlp", **PADDLE}, {"word_splitting": "huggingface", **HF}
ERNIE1 = {"vocab.txt": "golden/tokenizers/ernie1.0_vocab.txt"}
REMBERT = {"sentencepiece.model": "golden/tokenizers/rembert.sentencepiece.model"}
ERNIE_M = {"sentencepiece.bpe.model": "golden/tokenizers/sentencepiece.bpe.model", "vocab.txt": "golden/tokenizers/ernie_m.vocab.txt"}
XLM_R = {"sentencepiece.bpe.model": "data/vocab/xlm-r/sentencepiece.bpe.model"}
XLM_R_VOCAB = {**XLM_R, "vocab.txt": "data/vocab/xlm-r/vocab.txt"}
CASED, LOWER = {"do_lower_case": False}, {"do_lower_case": True}
CASES = [
    ("ERNIE, PaddleNLP's rules", "ernie", ERNIE1, LOWER, WORDS_PADDLE, "pd_ernie1"),
    ("ERNIE, PaddleNLP's rules, cased", "ernie", ERNIE1, CASED, WORDS_PADDLE, None),
    ("ERNIE/BERT, transformers' rules", "bert", ERNIE1, LOWER, WORDS_HF, "hf_ernie1_bert"),
    ("ERNIE/BERT, transformers' rules, cased", "bert", ERNIE1, CASED, WORDS_HF, "hf_ernie1_bert_cased"),
    ("XLM-R", "xlm-roberta", XLM_R, {}, {}, None),
    ("RemBERT, PaddleNLP's rules", "rembert", REMBERT, {}, PADDLE, "pd_rembert_small"),
    ("RemBERT, transformers' rules", "rembert", REMBERT, {}, HF, "hf_rembert_small"),
    ("RemBERT, transformers' rules, lower case", "rembert", REMBERT, LOWER, HF, "hf_rembert_small_lower_noaccents"),
    ("RemBERT, pairs apart", "rembert", REMBERT, {}, {"pair_encoding": "apart"}, None),
    ("ERNIE-M, transformers' rules", "ernie_m", ERNIE_M, {}, {"piece_splitting": "huggingface"}, "hf_erniem_small"),
    ("ERNIE-M, plain", "ernie_m", ERNIE_M, {}, {"piece_splitting": "plain"}, None),
    ("ERNIE-M, plain, 250,000 pieces", "ernie_m", XLM_R_VOCAB, {}, {"piece_splitting": "plain"}, None),
]
SPECIALS = ["[CLS]", "[SEP]", "[PAD]", "[UNK]", "[MASK]", "<s>", "</s>", "<pad>", "<unk>", "<mask>"]


def real_pairs(data):
    """ROWS pairs, spread evenly over XNLI's 15 languages and the Chinese pairs of OCNLI where they are."""
    rows = []
    files = sorted((data / "data/xnli").glob("dev-*.tsv"))
    for file in files:
        lines = file.read_text(encoding="utf-8").split("\n")
        pairs = [line.rstrip("\r").split("\t")[:2] for line in lines if line.count("\t") >= 1]
        step = max(1, len(pairs) * len(files) // ROWS)
        rows += pairs[::step]
    return [(a, b) for a, b in rows]


def kiln_cut(first, second, room):
    """What two texts keep in Kiln and in the slow tokenizers: the longer gives first, the second where they are equally long."""
    while first + second > room:
        if first > second:
            first -= 1
        else:
            second -= 1
    return first, second


def crate_cut(first, second, room):
    """The same in the crate, whose second text keeps one more where they are equally long."""
    if first + second <= room:
        return first, second
    short, long = min(first, second), max(first, second)
    long = max(short, room - short) if short <= room else short
    if short + long > room:
        short, long = room // 2, room // 2 + room % 2
    return (long, short) if first > second else (short, long)


def cut_explains(whole, ours, theirs, room):
    """Whether both rows come of the same tokens by the two ways to cut: `whole` is the row of both texts, not cut."""
    texts = [[id for id, of in zip(whole["input_ids"], whole.sequence_ids()) if of == text] for text in (0, 1)]
    ids = whole["input_ids"]
    begin, *middle, end = [[id] for id, of in zip(ids, whole.sequence_ids()) if of is None]
    middle = sum(middle, [])
    room -= len(ids) - len(texts[0]) - len(texts[1])

    def row(kept):
        return begin + texts[0][: kept[0]] + middle + texts[1][: kept[1]] + end

    lengths = [len(text) for text in texts]
    return ours == row(kiln_cut(*lengths, room)) and theirs == row(crate_cut(*lengths, room))


def cause(text):
    """Why ids may differ, as far as the text tells."""
    if any(special.lower() in text.lower() for special in SPECIALS):
        return "special token typed in the text"
    if any(unicodedata.category(c) == "Cf" for c in text):
        return "format character (such as U+200D)"
    if any(unicodedata.combining(c) for c in text):
        return "combining marks"
    if unicodedata.normalize("NFKC", text) != text:
        return "compatibility characters"
    if text != text.strip() or not text.strip():
        return "spaces round the text"
    if any(unicodedata.category(c) in ("Cn", "So", "Sm", "Sk", "Sc") for c in text):
        return "symbols and characters newer than the tables"
    return "none found: perhaps equal scores"


def kiln(tokenize, case, data, work):
    """Kiln's rows, and the folder that it exported."""
    _, model_type, files, config, options, _ = case
    source, saved = Path(work) / "source", Path(work) / "saved"
    source.mkdir()
    saved.mkdir()
    for name, path in files.items():
        os.symlink(data / path, source / name)
    (source / "tokenizer_config.json").write_text(json.dumps(config))
    (saved / "config.json").write_text(json.dumps({"model_type": model_type}))

    def rows(texts):
        lines = "".join(json.dumps(row) + "\n" for row in texts)
        command = [tokenize, model_type, str(source), json.dumps(options), str(saved)]
        out = subprocess.run(command, input=lines, capture_output=True, text=True, encoding="utf-8")
        if out.returncode != 0:
            sys.exit(f"{case[0]}: {out.stderr}")
        return [json.loads(line) for line in out.stdout.splitlines()]

    return saved, rows


def main():
    tokenize, data = sys.argv[1], Path(sys.argv[2]).resolve()
    print(f"transformers {transformers.__version__}, tokenizers {tokenizers.__version__}")
    golden_pairs = json.loads((data / "golden/tokenizers/pairs.json").read_text(encoding="utf-8"))
    golden = [tuple(row) if isinstance(row, list) else (row["a"], row["b"]) for row in golden_pairs]
    real = real_pairs(data)
    found = []
    for case in CASES:
        with tempfile.TemporaryDirectory() as work:
            found.append(check(case, tokenize, data, work, golden, real))
    if len(sys.argv) > 3:
        Path(sys.argv[3]).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def check(case, tokenize, data, work, golden, real):
    """Prints what is found, and returns the counts."""
    name, golden_file = case[0], case[-1]
    folder, ours_of = kiln(tokenize, case, data, work)
    jobs, asked = [], []
    for source, pairs in (("golden", golden), ("real", real)):
        for a, b in pairs:
            jobs += [(source, "single", a, None, None), (source, "pair", a, b, None), (source, "cut pair", a, b, LONGEST)]
            jobs += [(source, "bare", a, None, None)]
    asked = [[a, b, longest] for _, _, a, b, longest in jobs]
    ours = ours_of(asked)
    found = {"name": name, "rows": len(jobs), "equal": 0, "causes": {}}
    try:
        auto = AutoTokenizer.from_pretrained(folder)
    except ValueError as error:  # ERNIE-M's own rules are those of a class that transformers 5 no longer has
        print(f"\n## {name}: does not open: {str(error).splitlines()[0]}")
        return {**found, "opens": f"transformers {transformers.__version__} does not have the tokenizer's class"}
    file = folder / "tokenizer.json"
    print(f"\n## {name}: {type(auto).__name__}, {file.stat().st_size if file.exists() else 'no'} bytes of tokenizer.json")
    has_types = "token_type_ids" in auto.model_input_names
    equal, total, causes, examples = Counter(), Counter(), Counter(), {}
    for (source, kind, a, b, longest), (ids, type_ids) in zip(jobs, ours):
        if kind == "cut pair" and case[4].get("pair_encoding") == "apart":
            continue
        cut = {"truncation": True, "max_length": longest} if longest else {}
        theirs = auto(a, b, add_special_tokens=kind != "bare", **cut)
        if kind == "bare":
            ids = ids[1:-1]
        total[source, kind] += 1
        same = theirs["input_ids"] == ids and (not has_types or kind == "bare" or theirs["token_type_ids"] == type_ids)
        if same:
            equal[source, kind] += 1
        elif kind != "bare":
            if b == "":
                why = "an empty second text, which is none to transformers"
            elif kind == "cut pair" and cut_explains(auto(a, b), ids, theirs["input_ids"], longest):
                why = "which of two equally long texts keeps one token more (verified: the same tokens, cut the other way)"
            else:
                why = cause(a + (b or ""))
            causes[source, why] += 1
            examples.setdefault(why, (a, b, ids, theirs["input_ids"]))
    for source in ("golden", "real"):
        counts = [f"{kind} {equal[source, kind]}/{total[source, kind]}" for kind in ("single", "pair", "cut pair", "bare")]
        print(f"{source:7}", ", ".join(counts))
    own = print_golden(golden_file, data, auto)
    specials = [auto.cls_token_id, auto.sep_token_id, auto.pad_token_id, auto.unk_token_id, auto.mask_token_id]
    print(f"special ids (cls sep pad unk mask): {specials}; longest {auto.model_max_length}; {len(auto)} ids")
    for (source, why), count in causes.most_common():
        print(f"  {source}: {count} differ: {why}")
    for why, (a, b, ids, theirs) in examples.items():
        at = next((i for i, (x, y) in enumerate(zip(ids, theirs)) if x != y), min(len(ids), len(theirs)))
        show = lambda found: auto.convert_ids_to_tokens(found[max(0, at - 2) : at + 5])
        print(f"    {why}: {(a + ' | ' + (b or ''))[:70]!r}\n      Kiln {show(ids)}\n      auto {show(theirs)}")
    for (source, why), count in causes.items():
        found["causes"][why] = found["causes"].get(why, 0) + count
    return {**found, "golden": own, "rows": sum(total.values()), "equal": sum(equal.values())}


def print_golden(name, data, auto):
    """Against the ids that the library itself gave, where the rules are its own: single texts, pairs, and of how many."""
    if name is None:
        return None
    with gzip.open(data / f"golden/tokenizers/{name}.json.gz", "rt", encoding="utf-8") as file:
        items = json.load(file)["items"]
    ids = lambda found: found["input_ids"] if isinstance(found, dict) else found
    single = sum(auto(item["a"])["input_ids"] == ids(item["single"]) for item in items)
    pair = sum(auto(item["a"], item["b"])["input_ids"] == ids(item["pair"]) for item in items)
    print(f"{name}: single {single}/{len(items)}, pair {pair}/{len(items)}")
    return [single, pair, len(items)]


if __name__ == "__main__":
    main()
