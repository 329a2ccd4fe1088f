"""Kiln's side: small models that it trains on real rows, and its commands convert and encode."""

import json
import shutil
import subprocess
from pathlib import Path

from safetensors.numpy import load_file

# A network of seconds; weights wide enough that outputs differ from token to token.
NETWORK = """
[model.config]
hidden_size = 32
num_hidden_layers = 2
num_attention_heads = 4
intermediate_size = 128
max_position_embeddings = 80
initializer_range = 0.15
"""
SETTINGS = """
[training]
max_steps = 4
batch_size = 4
[optimizer]
learning_rate = 1e-3
[evaluation]
every_steps = 4
test = false
[checkpoint]
every_steps = 4
"""
XNLI, PAWS_X = '"xnli/dev-{lang}.tsv"', '"pawsx/dev-{lang}.tsv"'
CARDS = {
    "sequence-classification": (XNLI, "{ text = 1, text_pair = 2, label = 3 }", 'labels = ["entailment", "neutral", "contradiction"]'),
    "multi-label-classification": (XNLI, "{ text = 1, text_pair = 2, label = 3 }", 'labels = ["entailment", "neutral", "contradiction"]'),
    "regression": (PAWS_X, "{ text = 1, text_pair = 2, score = 3 }", ""),
    "token-classification": ('"lac/lexical_analysis/train.tsv"', '{ tokens = "text_a", tags = "label" }',
                             'labels_file = "lac/dict/tag.dic"'),
    "question-answering": ('"cmrc2018/cmrc2018_trial.json"', None, 'scoring = "cmrc2018"'),
}
TOKENIZERS = {"ernie-m": ["sentencepiece.bpe.model", "ernie_m.vocab.txt"], "rembert": ["rembert.sentencepiece.model"],
              "xlm-roberta": ["sentencepiece.bpe.model"], "ernie": ["ernie1.0_vocab.txt"], "bert": ["ernie1.0_vocab.txt"]}
CORPORA = {"masked-lm": ["ernie-m", "ernie", "bert"], "pre-training": ["ernie", "bert"]}


class Failed(Exception):
    """A command of Kiln ended with something else than 0."""


class Kiln:
    """The binary, the real data (with `data` and `golden`), and a folder to work in."""

    def __init__(self, binary, data, work):
        self.binary, self.data, self.work = str(Path(binary).resolve()), data, work

    def run(self, *arguments):
        command = [self.binary, *map(str, arguments)]
        ended = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", cwd=self.work)
        if ended.returncode != 0:
            said = [line.strip(" ×│╰─▶") for line in ended.stderr.splitlines() if "×" in line or "error:" in line or "help:" in line]
            raise Failed(f"kiln {arguments[0]} ended with {ended.returncode}: {'; '.join(said)[:400] or ended.stderr[-400:]}")
        return ended.stdout

    def convert(self, source, target, to, *more):
        """The load report of a conversion."""
        shutil.rmtree(target, ignore_errors=True)
        return json.loads(self.run("convert", source, target, "--to", to, "--json", *more))

    def encode(self, folder, *how):
        output = self.work / "encoded.safetensors"
        self.run("encode", folder, *how, "--output", output, "--device", "flex")
        return load_file(output)

    def tokenizer(self, family):
        """A folder with the family's real vocabulary."""
        folder = self.work / f"tokenizer-{family}"
        if not folder.exists():
            folder.mkdir()
            for name in TOKENIZERS[family]:
                plain = name.removeprefix("ernie_m.").removeprefix("ernie1.0_").removeprefix("rembert.")
                shutil.copy(self.data / "golden/tokenizers" / name, folder / plain)
        return folder

    def can_train(self, family, head):
        return head in CARDS or family in CORPORA.get(head, [])

    def train(self, family, head, splitting="plain"):
        """The model folder that a few steps leave. ERNIE-M's pieces are whole, which AutoTokenizer can do, or split as PaddleNLP splits them."""
        name = f"{family}-{head}" + ("" if splitting == "plain" else f"-{splitting}")
        folder, recipe = self.work / f"trained-{name}", self.work / f"{name}.toml"
        shutil.rmtree(folder, ignore_errors=True)
        recipe.write_text(self.recipe(family, head, folder, splitting), encoding="utf-8")
        if head in CORPORA:
            self.run("prepare", recipe)
        self.run("train", recipe)
        return folder / "last"

    def train_elmo(self):
        """An ELMo of words that learnt a few sentences, with Baidu's vocabulary, cut short."""
        words, folder = self.work / "elmo-words", self.work / "trained-elmo"
        shutil.rmtree(folder, ignore_errors=True)
        words.mkdir(exist_ok=True)
        source = self.data / "data/elmo/data"
        lines = (source / "vocabulary_min5k.txt").read_text(encoding="utf-8").splitlines(keepends=True)
        (words / "vocab.txt").write_text("".join(lines[:2000]), encoding="utf-8")
        recipe = self.work / "elmo.toml"
        recipe.write_text(f'''[model]
architecture = "elmo"
tokenizer = "{words}"
[model.config]
projection_dim = 16
hidden_size = 24
num_hidden_layers = 2
[task]
name = "bidirectional-lm"
[streams]
train = ["{source}/dev/*.txt"]
dev = ["{source}/dev/*.txt"]
num_steps = 10
{SETTINGS.replace("1e-3", "0.1")}[output]
dir = "{folder}"
[device]
backend = "flex"
''', encoding="utf-8")
        self.run("train", recipe)
        return folder / "last"

    def recipe(self, family, head, folder, splitting):
        network = NETWORK + ("input_embedding_size = 24\noutput_embedding_size = 20\n" if family == "rembert" else "")
        model = f'[model]\narchitecture = "{family}"\ntokenizer = "{self.tokenizer(family)}"\n'
        model += f'piece_splitting = "{splitting}"\n' if family == "ernie-m" else ""
        data = self.corpus(family, head) if head in CORPORA else self.card(family, head)
        task = "doc_stride = 16\nmax_query_length = 24\n" if head == "question-answering" else ""
        return f'{model}{network}[task]\nname = "{head}"\n{task}{data}{SETTINGS}[output]\ndir = "{folder}"\n[device]\nbackend = "flex"\n'

    def card(self, family, head):
        """The head's rows, by a card of our own."""
        files, columns, words = CARDS[head]
        # ERNIE's vocabulary is Chinese.
        languages = ["en", "zh"] if family not in ("ernie", "bert") and "{lang}" in files else ["zh"]
        kind = "squad" if columns is None else "tsv"
        split = f"files = {files}\nformat = \"{kind}\"\n" + (f"columns = {columns}\n" if columns else "")
        if head == "token-classification":
            split += 'header = true\ntoken_separator = "\\u0002"\n'
        path = self.work / f"card-{family}-{head}.toml"
        text = f'title = "{head}"\nlanguages = {json.dumps(languages)}\n{words}\n[[train]]\n{split}[[dev]]\n{split}'
        path.write_text(text, encoding="utf-8")
        skip = 'bad_rows = "skip"\n' if head == "question-answering" else ""
        return (f'[data]\ndataset = "{path}"\nroot = "{self.data / "data"}"\ncache = "{self.work / "cache"}"\nmax_seq_length = 64\n'
                f"max_train_rows = 16\nmax_eval_rows = 8\n{skip}")

    def corpus(self, family, head):
        """Sentences of XNLI as documents of five."""
        text = self.work / f"text-{family}-{head}.txt"
        lines = (self.data / "data/xnli/dev-zh.tsv").read_text(encoding="utf-8").splitlines()[:600]
        sentences = [line.split("\t")[0] + "\n" for line in lines]
        text.write_text("\n".join("".join(sentences[at : at + 5]) for at in range(0, 600, 5)), encoding="utf-8")
        corpus = f'"{self.work / f"corpus-{family}-{head}" / "zh"}"'
        more = 'words = "none"\n' if family != "ernie-m" else 'languages = ["zh"]\nmin_document_length = 0\n'
        corpora = corpus if family != "ernie-m" else f'"{self.work / f"corpus-{family}-{head}"}"'
        return (f'[corpus]\ninput = ["{text}"]\noutput = {corpus}\n{more}[data]\nmax_seq_length = 48\n'
                f'[pretraining]\ncorpora = [{corpora}]\nsplit = "8,2"\neval_iters = 2\n')
