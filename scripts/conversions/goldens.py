"""Every golden checkpoint, to every target that fits, and back: the bytes of its tensors."""

import json

from conversions.checks import complaints
from conversions.kiln import Failed
from conversions.results import compare, weights

TARGETS = {"ernie_m": ["kiln", "hf", "paddle", "xlm-roberta"], "ernie": ["kiln", "hf", "paddle", "bert"], "rembert": ["kiln", "hf", "paddle"],
           "bert": ["kiln", "hf", "paddle", "bert"], "xlm-roberta": ["kiln", "hf", "xlm-roberta"], "elmo": ["kiln", "allennlp"]}
# Copies under another family's name, and what they hold beside the original's tensors. They do not go back.
COPIES = {("ernie_m", "xlm-roberta"): "token types of zeros", ("ernie", "bert"): "token types with row 0 of the task types"}
COLUMNS = ["to kiln", "to hf", "to paddle", "to bert", "to xlm-roberta", "to allennlp"]


class Goldens:
    def __init__(self, checks, golden):
        self.kiln, self.results, self.work, self.sums, self.golden = checks.kiln, checks.results, checks.work, checks.sums, golden

    def run(self, only):
        for folder in sorted(self.golden.iterdir()):
            for name in ("ckpt_safetensors", "ckpt_bin", "ckpt", "."):
                source = folder / name
                if f"golden/{folder.name}".startswith(only) and ((source / "config.json").exists() or (source / "options.json").exists()):
                    self.checkpoint(f"golden/{folder.name}" + (f"/{name}" if name == "ckpt_bin" else ""), source)

    def checkpoint(self, row, source):
        family, home = "elmo", "allennlp"
        if (source / "config.json").exists():
            family = json.loads((source / "config.json").read_text()).get("model_type")
            home = "paddle" if list(source.glob("*.pdparams")) else "hf"
            # PaddleNLP's own configurations name the family by its class.
            family = family or next(word for word in ("ernie_m", "rembert", "ernie") if word.replace("_", "") in row.replace("pd_", ""))
        for target in TARGETS[family]:
            column = f"to {target}"
            try:
                self.there_and_back(row, column, source, family, home, target)
            except Failed as failed:
                self.results.failed(row, column, str(failed))
            except KeyError as missing:
                self.results.skipped(row, column, f"no Python to read its files was given (--{missing.args[0]})")

    def there_and_back(self, row, column, source, family, home, target):
        before = self.sums(source)
        there = self.work / "there"
        wrong = complaints({}, {}, self.kiln.convert(source, there, target))
        if (family, target) in COPIES:
            if home == "paddle":  # whose matrices lie the other way round
                self.kiln.convert(source, self.work / "hf", "hf")
                before = self.sums(self.work / "hf")
            self.copy(row, column, wrong, before, self.sums(there), COPIES[family, target])
            return
        back = self.work / "back"
        wrong += complaints({}, {}, self.kiln.convert(there, back, home))
        changes = compare(before, self.sums(back))
        wrong += [f"tensors {changes}"] if changes else []
        self.judge(row, column, wrong, f"{len(weights(before))} =")

    def copy(self, row, column, wrong, before, after, exception):
        """A copy's tensors are the original's under other names, but for a few."""
        new = [name for name, value in after.items() if value not in before.values()]
        lost = [name for name, value in before.items() if value not in after.values()]
        if not all("token_type" in name for name in new) or not all("_type_" in name for name in lost):
            wrong.append(f"beside the original's tensors: {new}, without: {lost}")
        said = "; ".join(part for part in (f"new: {exception}" if new else "", f"left out: {', '.join(lost)}" if lost else "") if part)
        self.judge(row, column, wrong, f"{len(after) - len(new)} = + {len(new)}", said)

    def judge(self, row, column, wrong, cell, why=""):
        if wrong:
            self.results.failed(row, column, "; ".join(wrong))
        else:
            self.results.passed(row, column, cell, why)
