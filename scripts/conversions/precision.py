"""Sharded folders of smaller types: what a library reads of them is the original, rounded once."""

from safetensors.numpy import save_file

from conversions.checks import SHOWN, ask, complaints
from conversions.families import rows
from conversions.kiln import Failed

COLUMNS = ["f32 in shards, transformers 4", "f32 in shards, transformers 5", "bf16 in shards, transformers 4", "bf16 in shards, transformers 5",
           "f16 in shards, transformers 4", "f16 in shards, transformers 5"]
TYPES = {"f32": "float32", "bf16": "bfloat16", "f16": "float16"}
SHARD = "30KB"


def check(kiln, libraries, results, work, only):
    for family in ("bert", "rembert"):
        row = f"precision/{family}"
        for name in ("transformers4", "transformers5"):
            for dtype in TYPES if row.startswith(only) else []:
                column = f"{dtype} in shards, {SHOWN[name]}"
                if name not in libraries:
                    results.skipped(row, column, f"no Python with it was given (--{name})")
                    continue
                try:
                    of_type(row, column, kiln, libraries[name], results, work, family, dtype)
                except Failed as failed:
                    results.failed(row, column, str(failed))


def of_type(row, column, kiln, library, results, work, family, dtype):
    source, target, ids, output = work / f"precision-{library.name}-{family}", work / "shards", work / "ids.safetensors", work / "outputs.safetensors"
    head = "sequence-classification"
    ask(library, "make", family=family, head=head, folder=source, seed=5)
    save_file(rows(family), ids)
    before = ask(library, "open_model", family=family, head=head, folder=source, ids=ids, output=output, dtype=TYPES[dtype])
    wrong = complaints({}, {}, kiln.convert(source, target, "hf", "--dtype", dtype, "--max-shard-size", SHARD))
    shards = len(list(target.glob("model-*.safetensors")))
    if shards < 2 or not (target / "model.safetensors.index.json").exists():
        wrong.append(f"{shards} shards, and an index is {'' if (target / 'model.safetensors.index.json').exists() else 'not '}there")
    after = ask(library, "open_model", family=family, head=head, folder=target, ids=ids, output=output)
    wrong += complaints(before, after, {})
    if wrong:
        results.failed(row, column, "; ".join(wrong))
    else:
        results.passed(row, column, f"{shards} files, {len(after['tensors'])} =")
