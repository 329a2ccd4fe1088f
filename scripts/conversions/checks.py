"""The checks of families and heads: theirs -> ours -> theirs, and ours -> theirs."""

import shutil

import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from conversions.families import PREFIXES, difference, heads_of, rows
from conversions.kiln import CARDS, Failed
from conversions.results import NO_WEIGHTS, compare, weights
from conversions.worker import tensor_sum

TOLERANCE = 2e-5
# Where a family's weights may go under another name.
COPIES = {"ernie-m": "xlm-roberta", "ernie": "bert"}
TEXTS = ["A man is playing a guitar.", "El perro corre por el parque.", "机器学习很有趣，我们喜欢它。", "北京是中国的首都",
         "Das Haus ist groß."]
COLUMNS = ["tensors, transformers 4", "tensors, transformers 5", "tensors, PaddleNLP", "tensors, AllenNLP",
           "to hf, transformers 4", "to hf, transformers 5", "texts, transformers 4", "texts, transformers 5",
           "copy, transformers 4", "copy, transformers 5", "copy's texts, transformers 4", "copy's texts, transformers 5",
           "to paddle, PaddleNLP", "texts, PaddleNLP", "to allennlp, AllenNLP", "to paddle, and back",
           "sentence-transformers", "ONNX"]
SHOWN = {"transformers4": "transformers 4", "transformers5": "transformers 5", "paddle": "PaddleNLP", "allennlp": "AllenNLP"}


class Checks:
    def __init__(self, kiln, libraries, results, work):
        self.kiln, self.libraries, self.results, self.work = kiln, libraries, results, work
        (work / "texts.txt").write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
        self.encoded = {}

    def run(self, only):
        for family in PREFIXES:
            for head in heads_of(family):
                if f"{family}/{head}".startswith(only):
                    self.head(family, head)
        if "elmo/layers".startswith(only):
            self.elmo()
        weights_of_e5 = self.kiln.data / "data/weights/e5-small-as-ernie-m"
        if "real/multilingual-e5-small".startswith(only) and weights_of_e5.exists():
            self.real("real/multilingual-e5-small", weights_of_e5)

    def head(self, family, head):
        row = f"{family}/{head}"
        self.encoded = {}
        for name in ("transformers4", "transformers5", "paddle"):
            self.attempt(row, f"tensors, {SHOWN[name]}", name, self.theirs, family, head)
        try:
            source = self.source(family, head)
        except Failed as failed:
            self.results.failed(row, "to hf, transformers 4", str(failed))
            return
        if source is None:
            return
        for name in ("transformers4", "transformers5"):
            shown = SHOWN[name]
            self.attempt(row, f"to hf, {shown}", name, self.ours, family, family, head, source, "hf")
            if self.kiln.can_train(family, head):
                self.attempt(row, f"texts, {shown}", name, self.texts, family, family, head, source, "hf")
        if family in COPIES:
            self.copies(row, family, head, source)
        self.attempt(row, "to paddle, PaddleNLP", "paddle", self.ours, family, family, head, source, "paddle")
        if self.kiln.can_train(family, head):
            self.attempt(row, "texts, PaddleNLP", "paddle", self.paddle_texts, family, head, source)
        other = COPIES.get(family, family)
        if other in ("bert", "xlm-roberta"):
            if self.kiln.can_train(family, head):
                self.attempt(row, "sentence-transformers", "sentence", self.vectors, source, other)
            self.attempt(row, "ONNX", "onnx", self.onnx, family, other, head, source)

    def copies(self, row, family, head, source):
        for name in ("transformers4", "transformers5"):
            shown, other = SHOWN[name], COPIES[family]
            self.attempt(row, f"copy, {shown}", name, self.ours, family, other, head, source, other)
            if self.kiln.can_train(family, head):
                self.attempt(row, f"copy's texts, {shown}", name, self.texts, family, other, head, source, other)

    def attempt(self, row, column, name, check, *arguments):
        """A check by a library: skipped where it is not there, failed where Kiln or the library refuses."""
        if name not in self.libraries:
            self.results.skipped(row, column, f"no Python with it was given (--{name})")
            return
        try:
            check(row, column, self.libraries[name], *arguments)
        except Failed as failed:
            self.results.failed(row, column, str(failed))

    def source(self, family, head):
        """What Kiln trained; where it does not train such a head, the library's model, read and written by Kiln."""
        if self.kiln.can_train(family, head):
            return self.kiln.train(family, head)
        made = self.work / f"transformers4-{family}-{head}"
        return made if made.exists() else None

    def theirs(self, row, column, library, family, head):
        """The library's model, through Kiln, in the library again: the same tensors, nothing missing, and Kiln's outputs."""
        if not ask(library, "has", family=family, head=head)["has"]:
            return
        # Task types are no part of Kiln's training: the bare encoder has them, the one class of PaddleNLP's that takes their ids.
        types = (family, head) == ("ernie", "encoder")
        source, target = self.work / f"{library.name}-{family}-{head}", self.work / "theirs"
        shutil.rmtree(source, ignore_errors=True)
        ask(library, "make", family=family, head=head, folder=source, seed=11, task_types=types)
        ids, output = self.work / "ids.safetensors", self.work / "outputs.safetensors"
        save_file(rows(family, task_types=types), ids)
        # What the library saved; what it reads of that itself may be less (transformers 4.46.3 sets XLM-R's lm_head.bias to zeros).
        before = {"tensors": self.sums(source)}
        report = self.kiln.convert(source, target, "paddle" if library.name == "paddle" else "hf")
        after = ask(library, "open_model", family=family, head=head, folder=target, ids=ids, output=output)
        wrong = complaints(before, after, report)
        apart = difference(self.kiln.encode(target, "--ids", ids), load_file(output), rows(family)["attention_mask"])
        shown = f"{len(weights(before['tensors']))} = {apart if apart is None else format(apart, '.0e')}"
        self.judge(row, column, wrong, apart, shown, remark(after))

    def ours(self, row, column, library, family, other, head, source, to):
        """Kiln's model as `other` in a library: Kiln's outputs of the same ids."""
        if not ask(library, "has", family=other, head=head)["has"]:
            return
        target = self.converted(source, to)
        ids, output = self.work / "ids.safetensors", self.work / "outputs.safetensors"
        save_file(rows(family), ids)
        found = ask(library, "open_model", family=other, head=head, folder=target, ids=ids, output=output)
        if "ids" not in self.encoded:
            self.encoded["ids"] = self.kiln.encode(source, "--ids", ids)
        apart = difference(self.encoded["ids"], load_file(output), rows(family)["attention_mask"])
        self.judge(row, column, complaints({}, found, {}), apart, why=remark(found))

    def texts(self, row, column, library, family, other, head, source, to):
        """The same of texts, through AutoTokenizer."""
        if not ask(library, "has", family=other, head=head)["has"]:
            return
        output = self.work / "outputs.safetensors"
        found = ask(library, "texts", family=other, head=head, folder=self.converted(source, to), texts=self.work / "texts.txt", output=output)
        theirs, ours = load_file(output), self.kiln.encode(source, "--input", self.work / "texts.txt")
        mask = theirs.pop("attention_mask")
        same = mask.shape == ours["attention_mask"].shape and (mask == ours["attention_mask"]).all()
        wrong = [] if same else [f"{found['tokenizer']} gives rows of other lengths: {mask.sum(axis=1)}, not {ours['attention_mask'].sum(axis=1)}"]
        self.judge(row, column, wrong, difference(ours, theirs, mask))

    def paddle_texts(self, row, column, library, family, head, source):
        if family == "ernie-m":  # PaddleNLP's tokenizer always splits pieces
            if head not in CARDS:
                return
            source = self.kiln.train(family, head, "paddlenlp")
            self.encoded.pop("paddle", None)
        self.texts(row, column, library, family, family, head, source, "paddle")

    def vectors(self, row, column, library, source, to):
        """sentence-transformers' mean-pooled, normalised vectors."""
        output, texts = self.work / "outputs.safetensors", self.work / "texts.txt"
        ask(library, "vectors", folder=self.converted(source, to), texts=texts, output=output)
        ours = self.kiln.encode(source, "--input", texts, "--pooling", "mean", "--normalize")
        self.judge(row, column, [], difference(ours, load_file(output), rows("bert")["attention_mask"]))

    def onnx(self, row, column, library, family, other, head, source):
        """The copy exported to ONNX, in onnxruntime."""
        if head == "pre-training":
            return
        ids, output, target = self.work / "ids.safetensors", self.work / "outputs.safetensors", self.work / "onnx"
        given = rows(family)
        save_file(given, ids)
        shutil.rmtree(target, ignore_errors=True)
        ask(library, "onnx", head=head, folder=self.converted(source, other), target=target, ids=ids, output=output)
        self.judge(row, column, [], difference(self.kiln.encode(source, "--ids", ids), load_file(output), given["attention_mask"]))

    def converted(self, source, to):
        """The folder of a conversion, made once a head."""
        if to not in self.encoded:
            target = self.work / f"to-{to}"
            report = self.kiln.convert(source, target, to)
            wrong = complaints({}, {}, report)
            if wrong:
                raise Failed("; ".join(wrong))
            self.encoded[to] = target
        return self.encoded[to]

    def sums(self, folder):
        """The sums of a folder's tensors, in its own layout."""
        files = sorted(folder.glob("*.safetensors"))
        if files and (folder / "config.json").exists():
            sums = {}
            for file in files:
                with safe_open(file, "np") as opened:
                    sums.update({name: tensor_sum(opened.get_tensor(name)) for name in opened.keys()})
            return sums
        for name, pattern in (("transformers4", "*.bin"), ("paddle", "*.pdparams"), ("allennlp", "*.hdf5")):
            if list(folder.glob(pattern)):
                return ask(self.libraries[name], "read", folder=folder)["tensors"]
        raise Failed(f"{folder} has no weights")

    def real(self, row, given):
        """Published weights, laid out as an ERNIE-M with whole pieces, as an XLM-R, on real sentences."""
        original, source = self.work / "original", self.work / "real"
        shutil.rmtree(original, ignore_errors=True)
        original.mkdir()
        for file in given.iterdir():
            (original / file.name).symlink_to(file)
        (original / "tokenizer_config.json").write_text('{"piece_splitting": "plain"}\n')
        lines = [line for file in sorted((self.kiln.data / "data/xnli").glob("dev-*.tsv")) for line in file.read_text(encoding="utf-8").splitlines()[:10]]
        (self.work / "texts.txt").write_text("".join(line.split("\t")[0] + "\n" for line in lines), encoding="utf-8")
        # They are in f16, in which transformers 5 would compute.
        self.kiln.convert(original, source, "kiln", "--dtype", "f32")
        self.encoded = {}
        for name in ("transformers4", "transformers5"):
            self.attempt(row, f"copy, {SHOWN[name]}", name, self.ours, "ernie-m", "xlm-roberta", "encoder", source, "xlm-roberta")
            self.attempt(row, f"copy's texts, {SHOWN[name]}", name, self.texts, "ernie-m", "xlm-roberta", "encoder", source, "xlm-roberta")
        self.attempt(row, "sentence-transformers", "sentence", self.vectors, source, "xlm-roberta")
        self.attempt(row, "ONNX", "onnx", self.onnx, "ernie-m", "xlm-roberta", "encoder", source)

    def elmo(self):
        """AllenNLP's ELMo, through Kiln's own layout as well."""
        row = "elmo/layers"
        self.attempt(row, "tensors, AllenNLP", "allennlp", self.elmo_theirs, ["allennlp"])
        self.attempt(row, "to allennlp, AllenNLP", "allennlp", self.elmo_theirs, ["kiln", "allennlp"])
        try:
            self.elmo_words("elmo/words", "to paddle, and back")
        except Failed as failed:
            self.results.failed("elmo/words", "to paddle, and back", str(failed))

    def elmo_theirs(self, row, column, library, steps):
        source, ids, output = self.work / "allennlp-elmo", self.work / "ids.safetensors", self.work / "outputs.safetensors"
        shutil.rmtree(source, ignore_errors=True)
        ask(library, "make", folder=source, seed=11)
        ask(library, "ids", output=ids)
        before, folder = {"tensors": self.sums(source)}, source
        for step in steps:
            target = self.work / f"elmo-{step}"
            report = self.kiln.convert(folder, target, step)
            folder = target
        after = ask(library, "open_model", folder=folder, ids=ids, output=output)
        theirs = load_file(output)
        apart = difference(self.kiln.encode(folder, "--ids", ids), theirs, theirs["mask"])
        self.judge(row, column, complaints(before, after, report), apart, f"{len(weights(before['tensors']))} = {apart:.0e}")

    def elmo_words(self, row, column):
        """Kiln's ELMo of words, as Baidu's variables and back: no library of today opens those."""
        source, there, back = self.kiln.train_elmo(), self.work / "elmo-paddle", self.work / "elmo-back"
        reports = [self.kiln.convert(source, there, "paddle"), self.kiln.convert(there, back, "kiln")]
        before, ids = {"tensors": self.sums(source)}, self.work / "ids.safetensors"
        save_file({"word_ids": np.arange(4, 16, dtype=np.int64).reshape(3, 4)}, ids)
        ours, theirs = self.kiln.encode(source, "--ids", ids), self.kiln.encode(back, "--ids", ids)
        wrong = [one for report in reports for one in complaints({}, {}, report)]
        wrong += complaints(before, {"tensors": self.sums(back)}, {})
        apart = difference(ours, theirs, theirs["mask"])
        self.judge(row, column, wrong, apart, f"{len(weights(before['tensors']))} = {apart:.0e}")

    def judge(self, row, column, wrong, apart, cell=None, why=""):
        if apart is None:
            wrong = [*wrong, "no output of the library has a name of Kiln's"]
        elif apart > TOLERANCE:
            wrong = [*wrong, f"outputs differ by {apart:.1e}, which is more than {TOLERANCE:.0e}"]
        if wrong:
            self.results.failed(row, column, "; ".join(wrong), difference=apart)
        else:
            self.results.passed(row, column, cell or f"{apart:.0e}", why, difference=apart)


def ask(library, command, **arguments):
    """A library's answer. Where it raised, the check has failed."""
    answer = library(command, **arguments)
    if "error" in answer:
        raise Failed(f"{SHOWN.get(library.name, library.name)} raised {answer['error']}")
    return answer


def excused(name):
    """Whether a name may be missing or of no use: what is no weight, and poolers that no head reads, which PaddleNLP's classes all have and
    transformers' have where one is read. A pooler that is read would show in the outputs."""
    return "pooler." in name or name.endswith(NO_WEIGHTS)


def remark(found):
    """What a library makes by itself, of what is excused."""
    names = [name.split(".", 1)[1] if name.startswith(("bert.", "ernie.", "ernie_m.", "rembert.")) else name for name in found.get("missing", [])]
    return f"the library makes {', '.join(names)} by itself" if names else ""


def complaints(before, after, report):
    """What became of the tensors, and what the library and Kiln's load report say is missing or of no use."""
    wrong = []
    for word in ("missing", "unexpected", "mismatched"):
        for who, found in (("the library finds", after), ("Kiln's report has", report)):
            names = [name if isinstance(name, str) else name["name"] for name in found.get(word, [])]
            names = [name for name in names if not excused(name)]
            wrong += [f"{who} {word}: {', '.join(names[:4])}"] if names else []
    changes = compare(before["tensors"], after["tensors"]) if before else ""
    return wrong + ([f"tensors {changes}"] if changes else [])
