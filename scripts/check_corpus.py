"""Compares corpora that `kiln prepare` made with what PaddleNLP 2.8.1 reads, writes and computes.

    python3 scripts/check_corpus.py --venv FOLDER [--vocab vocab.txt] PREFIX [PREFIX ...]

For each corpus: PaddleNLP's dataset class opens it, and gives the arrays that NumPy finds in the files; PaddleNLP's
builder and NumPy, given those sentences, write files with the same bytes (of the `.npz` file, which holds the time,
the same arrays). With `--vocab` the text is also read, segmented, tokenised and marked again with PaddleNLP's
ErnieTokenizer and the rules of its `create_pretraining_data.py`, and the documents are compared, in any order; this
is for text files with one sentence a line.

FOLDER is a virtual environment (Python 3.10) with

    pip install paddlepaddle==2.6.2 paddlenlp==2.8.1 pyarrow==14.0.2 protobuf==3.20.2 numpy==1.26.4 jieba==0.42.1 \\
        huggingface_hub==0.23.4 aistudio-sdk==0.2.1

Exit code 0 if all is the same, 1 if not. Words that jieba and jieba-rs cut differently are counted and shown, and are
no failure.
"""

import argparse
import gzip
import json
import os
import re
import sys
import tempfile
from collections import Counter
from pathlib import Path


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--venv", type=Path, required=True, help="virtual environment with PaddleNLP")
    parser.add_argument("--vocab", type=Path, help="the vocabulary the corpora were made with: compare with their text")
    parser.add_argument("prefixes", nargs="+", metavar="PREFIX", help="P of P_ids.npy or P.bin")
    return parser.parse_args()


def in_venv(venv):
    """Starts this script again with the environment's own Python."""
    python = venv / "bin/python"
    if Path(sys.prefix).resolve() != venv.resolve():
        os.execv(python, [str(python), *sys.argv])


def raw(prefix):
    """(ids, lens, docs) by NumPy alone."""
    import numpy as np

    if Path(prefix + "_ids.npy").exists():
        index = np.load(prefix + "_idx.npz")
        return np.load(prefix + "_ids.npy", mmap_mode="r"), index["lens"], index["docs"]
    data = Path(prefix + ".idx").read_bytes()
    assert data[:9] == b"MMIDIDX\0\0" and data[9:17] == (1).to_bytes(8, "little")
    dtype = {4: np.int32, 8: np.uint16}[data[17]]
    count, marks = (int.from_bytes(data[at : at + 8], "little") for at in (18, 26))
    lens = np.frombuffer(data, np.int32, count, 34)
    docs = np.frombuffer(data, np.int64, marks, 34 + 12 * count)
    return np.fromfile(prefix + ".bin", dtype), lens, docs


def compare_reading(prefix, ids, lens, docs):
    """What PaddleNLP reads is what NumPy reads."""
    import numpy as np
    from paddlenlp.data import indexed_dataset

    dataset = indexed_dataset.make_dataset(prefix, "mmap", skip_warmup=True)
    assert len(dataset.sizes) == len(lens) and np.array_equal(dataset.sizes, lens)
    assert np.array_equal(dataset.doc_idx, docs)
    starts = np.concatenate([[0], np.cumsum(lens, dtype=np.int64)])
    assert starts[-1] == len(ids) and docs[0] == 0 and docs[-1] == len(lens) and (np.diff(docs) > 0).all()
    for sentence in range(len(lens)):
        found = dataset.get(sentence)
        found = found[0] if isinstance(found, tuple) else found
        assert np.array_equal(found, ids[starts[sentence] : starts[sentence + 1]]), f"sentence {sentence}"
    return starts


def compare_writing(prefix, ids, lens, docs, starts, folder):
    """What PaddleNLP and NumPy write is what Kiln writes."""
    import numpy as np
    from paddlenlp.data import indexed_dataset

    other = str(Path(folder) / "other")
    if Path(prefix + "_ids.npy").exists():
        np.save(other + "_ids.npy", np.asarray(ids))
        np.savez(other + "_idx.npz", lens=np.asarray(lens, np.int32), docs=np.asarray(docs, np.int64))
        assert Path(other + "_ids.npy").read_bytes() == Path(prefix + "_ids.npy").read_bytes()
        ours, theirs = np.load(prefix + "_idx.npz"), np.load(other + "_idx.npz")
        assert set(ours.files) == set(theirs.files) == {"lens", "docs"}
        for name in ours.files:
            assert ours[name].dtype == theirs[name].dtype and np.array_equal(ours[name], theirs[name])
        return
    builder = indexed_dataset.make_builder(other + ".bin", "mmap", ids.dtype.type)
    for start, end in zip(docs, docs[1:]):
        for sentence in range(start, end):
            builder.add_item(ids[starts[sentence] : starts[sentence + 1]])
        builder.end_document()
    builder.finalize(other + ".idx")
    for ending in (".bin", ".idx"):
        assert Path(other + ending).read_bytes() == Path(prefix + ending).read_bytes(), ending


def whole_words(tokens, words, longest):
    """What the original does with words: the longest run of tokens that spells one is joined."""
    marked, words, at = [], set(words), 0
    while at < len(tokens):
        if not re.findall("[\u4E00-\u9FA5]", tokens[at]):
            marked.append(tokens[at])
            at += 1
            continue
        for length in range(longest, 0, -1):
            if at + length <= len(tokens) and "".join(tokens[at : at + length]) in words:
                marked += [tokens[at]] + ["##" + token for token in tokens[at + 1 : at + length]]
                at += length
                break
        else:
            marked.append(tokens[at])
            at += 1
    return marked


class Original:
    """From text to ids as the original's Converter does it."""

    def __init__(self, vocab, options):
        from paddlenlp.transformers import ErnieTokenizer

        lines = vocab.read_text(encoding="utf-8").splitlines()
        with tempfile.TemporaryDirectory() as folder:
            plain = Path(folder) / "vocab.txt"
            plain.write_text("".join(line.split("\t")[0] + "\n" for line in lines), encoding="utf-8")
            self.tokenizer = ErnieTokenizer(str(plain))
        self.tokenizer.extend_chinese_char()
        self.options = options
        assert options["sentences"] == "newline" and not options["dictionary"], "only text of one sentence a line"

    def words(self, sentence):
        if self.options["words"] == "segmented":
            words, empty = sentence.split(self.options["word_delimiter"]), False
            for at, word in enumerate(words):
                if empty and not word:
                    words[at], empty = self.options["word_delimiter"], False
                else:
                    empty = not word
            return words
        if self.options["words"] == "jieba":
            import jieba

            return list(jieba.cut(sentence))
        return [sentence]

    def sentence(self, sentence):
        words = self.words(sentence.strip())
        tokens = self.tokenizer.tokenize("".join(words))
        if self.options["words"] != "none":
            tokens = whole_words(tokens, words, self.options["max_word_tokens"])
        return tuple(self.tokenizer.convert_tokens_to_ids(tokens))

    def documents(self):
        for file in sorted(self.inputs()):
            opened = gzip.open if file.suffix == ".gz" else open
            document = ""
            with opened(file, "rt", encoding="utf-8", newline="\n") as lines:
                for line in [*lines, self.options["document_delimiter"]]:
                    if line.strip() != self.options["document_delimiter"]:
                        document += line
                        continue
                    if len(document) > self.options["min_document_length"]:
                        ids = [self.sentence(sentence) for sentence in document.split("\n")]
                        yield tuple(sentence for sentence in ids if sentence)
                    document = ""

    def inputs(self):
        for name in self.options["input"]:
            yield from filter(Path.is_file, Path(name).rglob("*")) if Path(name).is_dir() else [Path(name)]


def compare_text(prefix, vocab, ids, docs, starts):
    """Counts the documents and sentences that the original makes of the same text and Kiln does not."""
    options = json.loads(Path(prefix + ".prepare.json").read_text(encoding="utf-8"))["options"]
    original = Original(vocab, options)
    theirs = [document for document in original.documents() if document]
    sentences = [tuple(ids[start:end].tolist()) for start, end in zip(starts, starts[1:])]
    ours = [tuple(sentences[start:end]) for start, end in zip(docs, docs[1:])]
    same = sum((Counter(ours) & Counter(theirs)).values())
    print(f"  {len(ours)} documents; the original has {len(theirs)}; the same: {same}")
    only_ours = Counter(sentences) - Counter(sentence for document in theirs for sentence in document)
    only_theirs = Counter(sentence for document in theirs for sentence in document) - Counter(sentences)
    print(f"  {len(sentences)} sentences; only here {sum(only_ours.values())}, only there {sum(only_theirs.values())}")
    for name, some in (("here ", only_ours), ("there", only_theirs)):
        for sentence in sorted(some)[:5]:
            print(f"    {name} {' '.join(original.tokenizer.convert_ids_to_tokens(list(sentence)))}")
    return not only_ours and not only_theirs or options["words"] == "jieba"


def main():
    given = arguments()
    in_venv(given.venv)
    import pyarrow  # noqa: F401  before paddle, which crashes otherwise

    same = True
    for prefix in given.prefixes:
        ids, lens, docs = raw(prefix)
        starts = compare_reading(prefix, ids, lens, docs)
        with tempfile.TemporaryDirectory() as folder:
            compare_writing(prefix, ids, lens, docs, starts, folder)
        print(f"{prefix}: read and written alike: {len(docs) - 1} documents, {len(lens)} sentences, {len(ids)} tokens")
        if given.vocab:
            same = compare_text(prefix, given.vocab, ids, docs, starts) and same
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
