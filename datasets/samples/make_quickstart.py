#!/usr/bin/env python3
"""Writes the quickstart data set and its tokenizer.

    python3 datasets/samples/make_quickstart.py [FOLDER]     # default: the folder of this script

Needs Python 3.9 or later and `pip install sentencepiece==0.2.3`. The same seed gives the same files.

Every sentence is built here from the word lists below, so the files carry no licence but Kiln's own. A premise says who does
what with how many things of which colour, and where:

    Anna buys 3 red hats at the market.

The hypothesis follows from it (entailment), cannot be true beside it (contradiction), or says something the premise leaves open
(neutral). Half of the forms of hypothesis occur under two or three labels, so that the answer is in the comparison of the two
sentences; the other half have a word that gives the label away (`nobody`, `every week`), so that a tiny model without any
pre-training learns something within its first few hundred steps. Names and numerals are written alike in all languages. The files of
the five languages are translations of each other, row by row, like XNLI's.
"""

import os
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path

import sentencepiece

SEED = 20
LANGUAGES = ["de", "en", "es", "fr", "zh"]
# Rows a language. English has more, as in real life; the first rows of its file are the ones the others translate. With 900 and 600
# some seeds learn the training rows by heart and not what makes their labels.
ROWS = {"train": {"en": 1500, "other": 1200}, "dev": {"en": 90, "other": 90}, "test": {"en": 90, "other": 90}}

NAMES = ["Anna", "Tom", "Maria", "Paul"]
NUMBERS = [2, 3, 4]

PLACES = [
    {"en": "at the market", "de": "auf dem Markt", "es": "en el mercado", "fr": "au marché", "zh": "在市场"},
    {"en": "at the station", "de": "am Bahnhof", "es": "en la estación", "fr": "à la gare", "zh": "在车站"},
    {"en": "in the park", "de": "im Park", "es": "en el parque", "fr": "dans le parc", "zh": "在公园"},
]

# Third person and, for the negation, the rest of it.
VERBS = [
    {"en": ("buys", "buy"), "de": "kauft", "es": "compra", "fr": ("achète", "n'achète"), "zh": "买"},
    {"en": ("sells", "sell"), "de": "verkauft", "es": "vende", "fr": ("vend", "ne vend"), "zh": "卖"},
    {"en": ("draws", "draw"), "de": "zeichnet", "es": "dibuja", "fr": ("dessine", "ne dessine"), "zh": "画"},
]

# Plurals. Spanish and French: (masculine, feminine).
COLOURS = [
    {"en": "red", "de": "rote", "es": ("rojos", "rojas"), "fr": ("rouges", "rouges"), "zh": "红色"},
    {"en": "green", "de": "grüne", "es": ("verdes", "verdes"), "fr": ("verts", "vertes"), "zh": "绿色"},
    {"en": "blue", "de": "blaue", "es": ("azules", "azules"), "fr": ("bleus", "bleues"), "zh": "蓝色"},
    {"en": "white", "de": "weiße", "es": ("blancos", "blancas"), "fr": ("blancs", "blanches"), "zh": "白色"},
]

KINDS = [
    {"en": "clothes", "de": "Kleidung", "es": "ropa", "fr": "des vêtements", "zh": "衣物"},
    {"en": "furniture", "de": "Möbel", "es": "muebles", "fr": "des meubles", "zh": "家具"},
    {"en": "flowers", "de": "Blumen", "es": "flores", "fr": "des fleurs", "zh": "花"},
    {"en": "dishes", "de": "Geschirr", "es": "vajilla", "fr": "de la vaisselle", "zh": "餐具"},
]

# Two things of each kind, in the order of KINDS. Spanish and French: (plural, is feminine); Chinese: (word, measure word).
THINGS = [
    {"en": "hats", "de": "Hüte", "es": ("sombreros", 0), "fr": ("chapeaux", 0), "zh": ("帽子", "顶")},
    {"en": "shirts", "de": "Hemden", "es": ("camisas", 1), "fr": ("chemises", 1), "zh": ("衬衫", "件")},
    {"en": "chairs", "de": "Stühle", "es": ("sillas", 1), "fr": ("chaises", 1), "zh": ("椅子", "把")},
    {"en": "tables", "de": "Tische", "es": ("mesas", 1), "fr": ("tables", 1), "zh": ("桌子", "张")},
    {"en": "roses", "de": "Rosen", "es": ("rosas", 1), "fr": ("roses", 1), "zh": ("玫瑰", "朵")},
    {"en": "tulips", "de": "Tulpen", "es": ("tulipanes", 0), "fr": ("tulipes", 1), "zh": ("郁金香", "朵")},
    {"en": "cups", "de": "Tassen", "es": ("tazas", 1), "fr": ("tasses", 1), "zh": ("杯子", "个")},
    {"en": "plates", "de": "Teller", "es": ("platos", 0), "fr": ("assiettes", 1), "zh": ("盘子", "个")},
]

EXTRAS = [
    {"en": "for a friend", "de": "für einen Freund", "es": "para un amigo", "fr": "pour un ami", "zh": "为一个朋友"},
    {"en": "every week", "de": "jede Woche", "es": "cada semana", "fr": "chaque semaine", "zh": "每个星期"},
    {"en": "before noon", "de": "vor dem Mittag", "es": "antes del mediodía", "fr": "avant midi", "zh": "在中午前"},
    {"en": "in the rain", "de": "im Regen", "es": "bajo la lluvia", "fr": "sous la pluie", "zh": "在雨中"},
]


class Words:
    """The words of one item in one language. An item is a dict of indices into the lists above."""

    def __init__(self, language, item):
        verb, thing, colour = VERBS[item["verb"]][language], THINGS[item["thing"]][language], COLOURS[item["colour"]][language]
        self.name, self.number = NAMES[item["name"]], str(NUMBERS[item["number"]])
        self.place, self.kind = PLACES[item["place"]][language], KINDS[item["thing"] // 2][language]
        self.extra = EXTRAS[item["extra"]][language]
        self.verb, self.negated = verb if isinstance(verb, tuple) else (verb, verb)
        self.thing, note = thing if isinstance(thing, tuple) else (thing, None)
        self.measure = note if language == "zh" else None
        self.colour = colour[note] if isinstance(colour, tuple) else colour


# One line a form and language; the keys are Words' attributes.
FORMS = {
    "premise": {
        "en": "{name} {verb} {number} {colour} {thing} {place}.",
        "de": "{name} {verb} {place} {number} {colour} {thing}.",
        "es": "{name} {verb} {number} {thing} {colour} {place}.",
        "fr": "{name} {verb} {number} {thing} {colour} {place}.",
        "zh": "{name}{place}{verb}了{number}{measure}{colour}的{thing}。",
    },
    "count": {
        "en": "{name} {verb} {number} {thing}.",
        "de": "{name} {verb} {number} {thing}.",
        "es": "{name} {verb} {number} {thing}.",
        "fr": "{name} {verb} {number} {thing}.",
        "zh": "{name}{verb}了{number}{measure}{thing}。",
    },
    "somebody": {
        "en": "Somebody {verb} {thing}.",
        "de": "Jemand {verb} {thing}.",
        "es": "Alguien {verb} {thing}.",
        "fr": "Quelqu'un {verb} des {thing}.",
        "zh": "有人{verb}了{thing}。",
    },
    "nobody": {
        "en": "Nobody {verb} {thing}.",
        "de": "Niemand {verb} {thing}.",
        "es": "Nadie {verb} {thing}.",
        "fr": "Personne {negated} de {thing}.",
        "zh": "没有人{verb}{thing}。",
    },
    "where": {
        "en": "{name} is {place}.",
        "de": "{name} ist {place}.",
        "es": "{name} está {place}.",
        "fr": "{name} est {place}.",
        "zh": "{name}{place}。",
    },
    "kind": {
        "en": "{name} {verb} {kind}.",
        "de": "{name} {verb} {kind}.",
        "es": "{name} {verb} {kind}.",
        "fr": "{name} {verb} {kind}.",
        "zh": "{name}{verb}了{kind}。",
    },
    "negation": {
        "en": "{name} does not {negated} any {thing}.",
        "de": "{name} {verb} keine {thing}.",
        "es": "{name} no {verb} {thing}.",
        "fr": "{name} {negated} pas de {thing}.",
        "zh": "{name}没有{verb}{thing}。",
    },
    "extra": {
        "en": "{name} {verb} {number} {thing} {extra}.",
        "de": "{name} {verb} {extra} {number} {thing}.",
        "es": "{name} {verb} {number} {thing} {extra}.",
        "fr": "{name} {verb} {number} {thing} {extra}.",
        "zh": "{name}{extra}{verb}了{number}{measure}{thing}。",
    },
}

# Form of the hypothesis, and the word it changes (None: it keeps all).
HYPOTHESES = {
    "entailment": [("count", None), ("where", None), ("kind", None), ("somebody", None)],
    "contradiction": [("count", "number"), ("where", "place"), ("negation", None), ("nobody", None)],
    "neutral": [("count", "name"), ("where", "name"), ("kind", "name"), ("extra", None)],
}
SIZES = {"name": NAMES, "number": NUMBERS, "place": PLACES, "verb": VERBS, "colour": COLOURS, "thing": THINGS, "extra": EXTRAS}


def render(form, language, item):
    return FORMS[form][language].format(**vars(Words(language, item)))


def make_items(rng, count, seen):
    """`count` distinct (item, label, form, changed item), the labels in equal parts and mixed. `seen` holds used premises."""
    rows = []
    while len(rows) < count:
        item = {key: rng.randrange(len(values)) for key, values in SIZES.items()}
        premise = tuple(item[key] for key in SIZES if key != "extra")
        if premise in seen:
            continue
        seen.add(premise)
        label = list(HYPOTHESES)[len(rows) % len(HYPOTHESES)]
        form, changed = rng.choice(HYPOTHESES[label])
        other = dict(item)
        if changed:
            other[changed] = (item[changed] + rng.randrange(1, len(SIZES[changed]))) % len(SIZES[changed])
        rows.append((item, label, form, other))
    rng.shuffle(rows)
    return rows


def write_rows(path, language, items):
    lines = ["premise\thypothesis\tlabel"]
    for item, label, form, other in items:
        lines.append(f"{render('premise', language, item)}\t{render(form, language, other)}\t{label}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
    return lines[1:]


def train_tokenizer(folder, sentences):
    """A unigram SentencePiece model and ERNIE-M's vocab.txt: four special tokens, the pieces, [MASK]."""
    folder.mkdir(parents=True, exist_ok=True)
    model = folder / "sentencepiece.bpe.model"
    # Full-width forms to ASCII: what matters of NFKC here, at a hundredth of the size of SentencePiece's NFKC table.
    rules = "".join(f"{0xFEE0 + c:X}\t{c:X}\n" for c in range(0x21, 0x7F)) + "3000\t20\n"
    with tempfile.TemporaryDirectory() as temporary, model.open("wb") as out:
        # The model keeps the path of its rules: a relative one, or it would differ from machine to machine.
        os.chdir(temporary)
        Path("rules.tsv").write_text(rules, encoding="ascii")
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(sentences), model_writer=out, model_type="unigram", vocab_size=1000,
            hard_vocab_limit=False, character_coverage=1.0, normalization_rule_tsv="rules.tsv", num_threads=1,
            split_digits=True, minloglevel=2,
        )
        os.chdir(folder)
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(model))
    words = [pieces.id_to_piece(i) for i in range(len(pieces)) if not pieces.is_control(i) and not pieces.is_unknown(i)]
    # ERNIE-M cuts pieces at Chinese characters, digits and punctuation, which leaves pieces that the model does not know.
    known = set(words)
    cut = Counter(piece for sentence in sentences for piece in ernie_m_pieces(pieces, sentence) if piece not in known)
    words += sorted(cut, key=lambda piece: (-cut[piece], piece))
    vocabulary = ["[CLS]", "[PAD]", "[SEP]", "[UNK]", *words, "[MASK]"]
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8", newline="\n")
    return len(vocabulary)


def ernie_m_pieces(model, text):
    """The pieces ERNIE-M's tokenizer makes of a text (PaddleNLP's rules)."""
    result = []
    for piece in model.encode(text, out_type=str):
        if piece == "▁":
            continue
        start = 0

        def emit(end):
            if piece[start:end] not in ("", "▁"):
                result.append(piece[start:end])

        for i, char in enumerate(piece):
            if char == "▁":
                continue
            if "\u4e00" <= char <= "\u9fff" or char in ",;:.?!~，；：。？！《》【】":
                emit(i)
                result.append(char)
                start = i + 1
            elif i > 0 and char.isdigit() != piece[i - 1].isdigit():
                emit(i)
                start = i
        emit(len(piece))
    return result


def main():
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent).resolve()
    folder = root / "quickstart-nli"
    folder.mkdir(parents=True, exist_ok=True)
    rng, seen, train_lines = random.Random(SEED), set(), []
    for split, sizes in ROWS.items():
        items = make_items(rng, max(sizes.values()), seen)
        for language in LANGUAGES:
            rows = items[: sizes.get(language, sizes["other"])]
            lines = write_rows(folder / f"{split}.{language}.tsv", language, rows)
            train_lines += lines if split == "train" else []
    sentences = [sentence for line in train_lines for sentence in line.split("\t")[:2]]
    size = train_tokenizer(root / "quickstart-tokenizer", sentences)
    print(f"{len(sentences)} sentences, {size} vocabulary entries")


if __name__ == "__main__":
    main()
