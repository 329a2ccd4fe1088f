"""Holds Kiln's reading of parquet against its reading of the same rows as TSV and JSON, and against pyarrow's.

    cargo build --release --bin kiln
    python scripts/check_parquet.py KILN DATA

KILN is the binary, DATA a folder with xnli/dev-LANG.tsv, mnli_train/multinli.train.en.tsv.gz, pawsx/dev-LANG.tsv, ocnli/dev.json.gz,
cmrc2018/cmrc2018_dev.json.gz and vocab/ (KILN_TEST_DATA/data). Needs pyarrow. The files are written as the hub has them, with pyarrow;
then Kiln trains one step on either form, and what it keeps of the rows (tokens, where the second text begins, labels or answers, line) is
compared, number by number. The lines of questions differ: in JSON they are not rows.
"""

import gzip
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

NLI = ["entailment", "neutral", "contradiction"]
TINY = [
    "model.config.hidden_size=16",
    "model.config.num_hidden_layers=1",
    "model.config.num_attention_heads=2",
    "model.config.intermediate_size=32",
    "training.max_steps=1",
    "training.batch_size=4",
    "device.backend=flex",
    "output.dir=run",
]


def read_tsv(path):
    opened = gzip.open(path, "rt", encoding="utf-8", newline="\n") if path.suffix == ".gz" else path.open(encoding="utf-8", newline="\n")
    with opened as lines:
        return [line.rstrip("\n").split("\t") for line in lines]


def write_parquet(path, names, rows, shards=1, types=None):
    """Rows as the library `datasets` writes them: snappy, dictionaries, row groups of 1,000; and what pyarrow reads of them."""
    path.mkdir(parents=True, exist_ok=True)
    read = []
    for shard in range(shards):
        part = rows[shard * len(rows) // shards : (shard + 1) * len(rows) // shards]
        table = pa.table({name: pa.array([row[at] for row in part], types and types.get(name)) for at, name in enumerate(names)})
        file = path / f"SPLIT-{shard:05}-of-{shards:05}.parquet"
        pq.write_table(table, file, row_group_size=1000)
        read += [tuple(row.values()) for row in pq.read_table(file).to_pylist()]
    assert read == [tuple(row) for row in rows], f"{path}: pyarrow reads other rows than it wrote"


def write_split(folder, split, *rest, **options):
    write_parquet(folder, *rest, **options)
    for file in folder.glob("SPLIT-*"):
        file.rename(folder / file.name.replace("SPLIT", split))


def pairs(data, tsv, hub):
    """XNLI and PAWS-X; returns the languages of each."""
    xnli = sorted(file.stem[4:] for file in (data / "xnli").glob("dev-*.tsv"))
    (tsv / "xnli").mkdir()
    train = read_tsv(data / "mnli_train" / "multinli.train.en.tsv.gz")[1:]
    names = ["premise", "hypothesis", "label"]
    numbers = {**{word: at for at, word in enumerate(NLI)}, "contradictory": 2}
    numbered = lambda rows: [(*row[:2], numbers[row[2]]) for row in rows]
    (tsv / "xnli" / "train-en.tsv").write_text("".join("\t".join(row) + "\n" for row in train), encoding="utf-8", newline="\n")
    write_split(hub / "facebook-xnli" / "en", "train", names, numbered(train), shards=3)
    for language in xnli:
        (tsv / "xnli" / f"dev-{language}.tsv").symlink_to(data / "xnli" / f"dev-{language}.tsv")
        write_split(hub / "facebook-xnli" / language, "validation", names, numbered(read_tsv(data / "xnli" / f"dev-{language}.tsv")))
    pawsx = sorted(file.stem[4:] for file in (data / "pawsx").glob("dev-*.tsv"))
    (tsv / "pawsx").mkdir()
    for language in pawsx:
        file = data / "pawsx" / f"dev-{language}.tsv"
        rows = [(at, row[0], row[1], int(row[2])) for at, row in enumerate(read_tsv(file), 1)]
        for split, ours in [("train", "train"), ("validation", "dev")]:
            (tsv / "pawsx" / f"{ours}-{language}.tsv").symlink_to(file)
            write_split(hub / "paws-x" / language, split, ["id", "sentence1", "sentence2", "label"], rows)
    return xnli, pawsx


def chinese(data, tsv, hub):
    """OCNLI and CMRC 2018: rows without a label are not on the hub."""
    lines = [json.loads(line) for line in gzip.open(data / "ocnli" / "dev.json.gz", "rt", encoding="utf-8")]
    lines = [line for line in lines if line["label"] != "-"]
    order = ["neutral", "entailment", "contradiction"]
    rows = [(line["sentence1"], line["sentence2"], order.index(line["label"]), at) for at, line in enumerate(lines)]
    (tsv / "ocnli").mkdir()
    for split, ours in [("train", "train.3k"), ("validation", "dev")]:
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        (tsv / "ocnli" / f"{ours}.json").write_text(text, encoding="utf-8")
        write_split(hub / "clue" / "ocnli", split, ["sentence1", "sentence2", "label", "idx"], rows)
    questions = []
    file = json.load(gzip.open(data / "cmrc2018" / "cmrc2018_dev.json.gz", "rt", encoding="utf-8"))
    contexts = [paragraph for entry in file["data"] for paragraph in entry["paragraphs"]] if "data" in file else file
    for context in contexts:
        text = context.get("context", context.get("context_text"))
        for question in context["qas"]:
            answers = question["answers"]
            # The older layout tells no places.
            answers = [a if isinstance(a, dict) else {"text": a, "answer_start": text.find(a)} for a in answers]
            columns = {"text": [a["text"] for a in answers], "answer_start": [a["answer_start"] for a in answers]}
            name = question.get("id", question.get("query_id"))
            questions.append((name, text, question.get("question", question.get("query_text")), columns))
    as_squad = [
        {
            "context": text,
            "qas": [
                {
                    "id": name,
                    "question": question,
                    "answers": [{"text": t, "answer_start": s} for t, s in zip(columns["text"], columns["answer_start"])],
                }
            ],
        }
        for name, text, question, columns in questions
    ]
    (tsv / "cmrc2018").mkdir()
    types = {"answers": pa.struct([("text", pa.list_(pa.string())), ("answer_start", pa.list_(pa.int32()))])}
    for split, ours in [("train", "train"), ("validation", "dev")]:
        text = json.dumps({"data": [{"paragraphs": as_squad}]}, ensure_ascii=False, indent=1)
        (tsv / "cmrc2018" / f"cmrc2018_{ours}.json").write_text(text, encoding="utf-8")
        write_split(hub / "clue" / "cmrc2018", split, ["id", "context", "question", "answers"], questions, types=types)


def kept(folder):
    """What the token cache holds, by where it came from: the numbers of each table."""
    found = []
    for file in sorted(folder.glob("*.tokens")):
        content = file.read_bytes()
        size = int.from_bytes(content[8:16], "little")
        info = json.loads(content[16 : 16 + size])
        at, rows = 16 + size, info["rows"]
        tables = {}
        for name, width in [("ends", 8), ("lines", 4), ("firsts", 4), ("target ends", 8)]:
            tables[name] = content[at : at + width * rows]
            at += width * rows
        tables["ids, targets, met"] = content[at:]
        found.append((info, tables))
    return found


def compare(kiln, work, recipe, tsv, hub, options):
    caches = []
    for form, root in [("text", tsv), ("parquet", hub)]:
        folder = work / f"{form}-cache"
        command = [kiln, "train", "--fresh", str(recipe), f"data.root={root}", f"data.cache={folder}", *TINY, *options]
        run = work / form
        run.mkdir()
        done = subprocess.run(command, cwd=run, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"{' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
        caches.append(kept(folder))
    # Both forms of a split hold the same rows, so that their tokens tell which belong together.
    key = lambda info, tables: ("train" in Path(info["source"]).name, tables["ids, targets, met"])
    texts, parquets = ({key(info, tables): (info, tables) for info, tables in cache} for cache in caches)
    alone = set(texts) ^ set(parquets)
    for name in alone:
        info, _ = texts.get(name) or parquets.get(name)
        print(f"  differs: {info['source']} ({info['rows']} rows)")
    rows = 0
    for both in set(texts) & set(parquets):
        (one, tables), (other, others) = texts[both], parquets[both]
        rows += one["rows"]
        named = [name for name in tables if tables[name] != others[name]]
        if named or any(one[count] != other[count] for count in ["rows", "skipped", "empty", "truncated"]):
            print(f"  {one['source']} and {other['source']} differ in {named or 'their counts'}")
    evaluations = [json.loads((work / form / "run" / "eval.json").read_text()) for form in ["text", "parquet"]]
    # Of equal runs the time alone differs.
    same = len({json.dumps(evaluation | {"seconds": 0}) for evaluation in evaluations}) == 1
    print(
        f"  {len(caches[0])} and {len(caches[1])} files of rows, {len(alone)} differ; {rows} rows are the same; eval.json is {'the same' if same else 'another'}"
    )


def main():
    kiln, data = str(Path(sys.argv[1]).resolve()), Path(sys.argv[2]).resolve()
    recipes = Path(__file__).resolve().parent.parent / "recipes"
    with tempfile.TemporaryDirectory() as folder:
        tsv, hub = Path(folder) / "tsv", Path(folder) / "hub"
        tsv.mkdir()
        hub.mkdir()
        xnli, pawsx = pairs(data, tsv, hub)
        chinese(data, tsv, hub)
        print(
            f"pyarrow {pa.__version__} reads back what was written: XNLI in {len(xnli)} languages, PAWS-X in {len(pawsx)}, OCNLI, CMRC 2018"
        )
        ernie_m = [
            "model.architecture=ernie-m",
            f"model.tokenizer={data / 'vocab' / 'xlm-r'}",
            "data.max_seq_length=64",
            "model.config.max_position_embeddings=66",
        ]
        ernie = ["model.architecture=ernie", f"model.tokenizer={folder}/ernie", "model.config.max_position_embeddings=512"]
        (Path(folder) / "ernie").mkdir()
        (Path(folder) / "ernie" / "vocab.txt").symlink_to(data / "vocab" / "ernie1.0_vocab_tokens_only.txt")
        cases = [
            (
                "XNLI, three shards to train and 15 languages",
                "quickstart.toml",
                "facebook-xnli",
                ernie_m + ["data.dataset=xnli", "data.protocol=cross-lingual-transfer", "evaluation.test=false"],
            ),
            ("PAWS-X", "quickstart.toml", "paws-x", ernie_m + ["data.dataset=paws-x", "evaluation.test=false"]),
            ("OCNLI", "quickstart.toml", "clue", ernie + ["data.dataset=ocnli", "data.max_seq_length=64", "evaluation.test=false"]),
            (
                "CMRC 2018",
                "quickstart.toml",
                "clue",
                ernie
                + [
                    "data.dataset=cmrc2018",
                    "task.name=question-answering",
                    "data.max_seq_length=384",
                    "data.bad_rows=skip",
                    "evaluation.test=false",
                ],
            ),
        ]
        for number, (name, recipe, root, options) in enumerate(cases):
            print(name)
            work = Path(folder) / str(number)
            work.mkdir()
            compare(kiln, work, recipes / recipe, tsv, hub / root, options)


if __name__ == "__main__":
    main()
