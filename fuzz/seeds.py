"""Writes what the fuzz targets start from into fuzz/corpus: the project's own fixtures, cut small, and tiny files made here.

pip install h5py numpy tokenizers sentencepiece protobuf; a library that is missing only leaves its seeds out.
"""

import base64
import gzip
import io
import json
import struct
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FIXTURES = ROOT / "tests" / "fixtures"
OUT = ROOT / "fuzz" / "corpus"
LARGEST = 16_384


def put(target, name, data):
    folder = OUT / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name.replace("/", "_")).write_bytes(data)


def copy(target, pattern, folder=FIXTURES, prefix=b""):
    for file in sorted(folder.glob(pattern)):
        if file.is_file() and file.stat().st_size <= LARGEST:
            put(target, str(file.relative_to(folder)), prefix + file.read_bytes())


def weights():
    copy("safetensors", "weights/**/*.safetensors")
    copy("safetensors", "parity/*/ckpt_safetensors/model.safetensors")
    for ending in ("bin", "pdparams", "pdopt"):
        copy("pickle", f"weights/**/*.{ending}")
    copy("pickle", "weights/static/**/*")
    copy("pickle", "parity/**/pytorch_model.bin")


def corpus():
    folder = FIXTURES / "corpus"
    index = (FIXTURES / "samples" / "toy_train_indexmap_60mns_29msl_0.10ssp_1234s.npy").read_bytes()[:300]

    def one(name, kind, ids, table):
        data = ids + table + index
        put("corpus", name, struct.pack("<BHH", kind, len(ids), len(table)) + data)

    for file in sorted(folder.glob("*.idx")):
        for kind in (1, 3):
            one(f"{file.stem}_{kind}", kind, file.with_suffix(".bin").read_bytes(), file.read_bytes())
    for file in sorted(folder.glob("*_idx.npz")):
        ids = folder / file.name.replace("_idx.npz", "_ids.npy")
        for kind in (0, 2):
            one(f"{ids.stem}_{kind}", kind, ids.read_bytes(), file.read_bytes())


def hdf5():
    import h5py
    import numpy as np

    shapes = {
        "char_embed": (5, 2),
        "CNN/W_cnn_0": (1, 1, 2, 3),
        "CNN/b_cnn_0": (3,),
        "CNN_proj/W_proj": (3, 2),
        "RNN_0/RNN/MultiRNNCell/Cell0/LSTMCell/W_0": (4, 8),
        "RNN_0/RNN/MultiRNNCell/Cell0/LSTMCell/B": (8,),
    }
    ways = {
        "plain": {},
        "double": {"dtype": "f8"},
        "half": {"dtype": "f2"},
        "big": {"dtype": ">f4"},
        "gzip": {"chunks": True, "compression": "gzip"},
        "shuffle": {"chunks": True, "compression": "gzip", "shuffle": True, "fletcher32": True},
        "lzf": {"chunks": True, "compression": "lzf"},
        "growing": {"chunks": True, "maxshape": "all"},
        "scale": {"chunks": True, "scaleoffset": 3},
    }
    for version in ("earliest", "latest"):
        for name, options in ways.items():
            data = io.BytesIO()
            with h5py.File(data, "w", libver=version) as file:
                for path, shape in shapes.items():
                    how = dict(options)
                    dtype = how.pop("dtype", "f4")
                    if how.get("maxshape") == "all":
                        how["maxshape"] = (None,) * len(shape)
                    file.create_dataset(path, data=np.arange(np.prod(shape)).reshape(shape).astype(dtype), **how)
            put("hdf5", f"{name}_{version}.hdf5", data.getvalue())
        data = io.BytesIO()
        with h5py.File(data, "w", libver=version) as file:
            file.create_dataset("char_embed", shape=(5, 2), dtype="f4", fillvalue=2.0)
            file["CNN/b_cnn_0"] = np.zeros(3, "f4")
            file["CNN_proj/W_proj"] = h5py.SoftLink("/char_embed")
            file["RNN_0"] = h5py.ExternalLink("other.hdf5", "/x")
            file.attrs["note"] = "text"
        put("hdf5", f"links_{version}.hdf5", data.getvalue())


TEXTS = ["the cat sat on the mat", "a cat and a dog", "训练 语言 模型", "fine-tunes ﬁne", "Ｋiln reads files"] * 4


def sentencepiece_models():
    import tempfile

    import sentencepiece

    with tempfile.TemporaryDirectory() as folder:
        rules = Path(folder) / "rules.tsv"
        rules.write_text("FB01\t66 69\nFF2B\t4B\n3000\t20\n65 301\tE9\n7\t\n", encoding="utf-8")
        for name, more in {
            "rules": {"normalization_rule_tsv": str(rules)},
            "identity": {"normalization_rule_name": "identity", "user_defined_symbols": ["<mask>", "the"]},
            "suffix": {"normalization_rule_tsv": str(rules), "treat_whitespace_as_suffix": True},
            "bytes": {"normalization_rule_name": "identity", "byte_fallback": True, "vocab_size": 300},
            "bpe": {"normalization_rule_name": "identity", "model_type": "bpe"},
        }.items():
            options = {"model_type": "unigram", "vocab_size": 45, "hard_vocab_limit": False, **more}
            model = io.BytesIO()
            trainer = sentencepiece.SentencePieceTrainer
            trainer.train(sentence_iterator=iter(TEXTS), model_writer=model, minloglevel=2, **options)
            put("sentencepiece", f"{name}.model", model.getvalue())


def charsmap_of(name):
    """The normaliser's table of a SentencePiece model above, in base64."""
    from sentencepiece import sentencepiece_model_pb2

    model = sentencepiece_model_pb2.ModelProto()
    model.ParseFromString((OUT / "sentencepiece" / f"{name}.model").read_bytes())
    return base64.b64encode(model.normalizer_spec.precompiled_charsmap).decode()


def tokenizers_json():
    import tokenizers
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    bert = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    xlm = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]

    def rows(tokenizer, cls, sep, between):
        ids = [(cls, tokenizer.token_to_id(cls)), (sep, tokenizer.token_to_id(sep))]
        second = 1 if between == 1 else 0
        pair = f"{cls} $A {' '.join([sep] * between)} $B:{second} {sep}:{second}"
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{cls} $A {sep}", pair=pair, special_tokens=ids
        )

    def save(name, tokenizer):
        put("tokenizer_json", f"{name}.json", tokenizer.to_str().encode())

    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.train_from_iterator(TEXTS, trainers.WordPieceTrainer(vocab_size=60, special_tokens=bert))
    rows(tokenizer, "[CLS]", "[SEP]", 1)
    save("word_piece", tokenizer)

    tokenizer = Tokenizer(models.Unigram())
    spaces = normalizers.Replace(tokenizers.Regex(" {2,}"), " ")
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), spaces, normalizers.Strip()])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.train_from_iterator(
        TEXTS, trainers.UnigramTrainer(vocab_size=60, special_tokens=xlm, unk_token="<unk>", show_progress=False)
    )
    rows(tokenizer, "<s>", "</s>", 2)
    save("unigram", tokenizer)

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), normalizers.StripAccents()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(tokenizers.Regex(r"\p{L}+|\p{N}| ?[^\s\p{L}]+|\s+(?!\S)"), "isolated"),
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.ByteLevel(), decoders.Fuse()])
    tokenizer.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=80, special_tokens=xlm, show_progress=False))
    rows(tokenizer, "<s>", "</s>", 2)
    save("bpe", tokenizer)
    for name in ("unigram", "bpe", "word_piece"):
        text = (OUT / "tokenizer_json" / f"{name}.json").read_text(encoding="utf-8")
        charsmap = json.dumps({"type": "Precompiled", "precompiled_charsmap": charsmap_of("rules")})
        at = text.index('"normalizer":') + len('"normalizer":')
        end = text.index('"pre_tokenizer":')
        put("tokenizer_json", f"{name}_charsmap.json", (text[:at] + charsmap + "," + text[end:]).encode())


def datasets():
    squad = '{"version": "v2.0", "data": [{"title": "t", "paragraphs": [{"context": "a cat sat", "qas": [{"id": "1", ' \
        '"question": "who?", "is_impossible": false, "answers": [{"text": "cat", "answer_start": 2}]}]}]}]}'
    cmrc = '[{"context_id": "C", "context_text": "我爱你", "qas": [{"query_id": "Q", "query_text": "谁", "answers": ["你"]}]}]'
    dureader = '{"question_id": 1, "segmented_question": ["谁"], "documents": [{"segmented_paragraphs": [["我", "爱"]], ' \
        '"most_related_para": 0}], "answers": ["我"], "answer_spans": [[0, 1]], "answer_docs": [0]}\n'
    files = [
        "a text\tanother\tO\nb\tc\tB-a\n",
        "id\ttext\tlabel\n1\ta text\tO\n2\tb\tI-a\n",
        '"a ""quoted"" text",O\r\n"two\nlines",B-a\n\n',
        '{"text": "a", "label": "O", "language": "en"}\n{"text": "b", "label": ["B-a"], "language": "de"}\n',
        '{"tokens": ["a", "b"], "tags": ["O", 1]}\n',
        "-DOCSTART- O\n\nEU B-a\nrejects O\n\nx I-a\n",
        "EU\tNNP\tB-a\nrejects\tVBZ\tO\n\n",
        "他\u0002来\tO\u0002B-a\n",
        squad,
        dureader,
        "a text,0.5\nb,1\n",
    ]
    for kind, text in enumerate(files):
        for how in (0, 3):
            put("dataset", f"{kind}_{how}", bytes([kind, how]) + text.encode())
        put("dataset", f"{kind}_gz", bytes([kind, 0]) + gzip.compress(b"\xef\xbb\xbf" + text.encode(), 9, mtime=0))
    put("dataset", "8_cmrc", bytes([8, 2]) + cmrc.encode())
    columns = '{"data": [{"paragraphs": [{"context": "ab", "qas": [{"question": "q", "answers": {"text": ["b"], "answer_start": [1]}}]}]}]}'
    put("dataset", "8_columns", bytes([8, 0]) + columns.encode())
    put("dataset", "tags", bytes([7, 4]) + "0\tn-B\n1\tn-I\n2\tO\n".encode())
    # `printf 'a\tb\tO\n' | zstd`
    put("dataset", "0_zst", bytes([0, 0]) + bytes.fromhex("28b52ffd0458310000610962094f0a") + b"\x00" * 4)


def recipes():
    for folder in ("recipes", "datasets"):
        copy("recipe", "**/*.toml", ROOT / folder)
    text = (ROOT / "recipes" / "quickstart.toml") if (ROOT / "recipes" / "quickstart.toml").exists() else None
    if text:
        put("recipe", "arguments", text.read_bytes() + b"\0optimizer.learning_rate=2e-5\0seed=3\0data.dataset=xnli")


def configs():
    for file in sorted(FIXTURES.glob("parity/*/ckpt*/config.json")):
        put("config", f"{file.parent.parent.name}_{file.parent.name}", b"\0" + file.read_bytes())
    copy("config", "parity/elmo_*/config.json", prefix=b"\0")
    put("config", "index", b"\1" + (FIXTURES / "weights/sharded/model.safetensors.index.json").read_bytes())
    copy("config", "parity/elmo_characters/options.json", prefix=b"\2")
    for folder in ("bert", "bert-cased", "ernie"):
        folder = FIXTURES / "tokenizer" / folder
        config = folder / "tokenizer_config.json"
        more = b"\0" + config.read_bytes() if config.exists() else b""
        put("config", f"vocab_{folder.name}", b"\3" + (folder / "vocab.txt").read_bytes() + more)
    put("config", "vocab_tabs", b"\3" + b"[PAD]\t0\n[UNK]\t1\n[CLS]\t2\n[SEP]\t3\n[MASK]\t4\na\t5\n")


for make in (weights, corpus, hdf5, sentencepiece_models, tokenizers_json, datasets, recipes, configs):
    try:
        make()
    except ImportError as cause:
        print(f"{make.__name__} is left out: {cause}", file=sys.stderr)
for folder in sorted(OUT.iterdir()):
    files = list(folder.iterdir())
    print(f"{folder.name}: {len(files)} seeds, {sum(file.stat().st_size for file in files)} bytes")
