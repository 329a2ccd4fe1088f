"""The families and heads, in the words of Kiln and of the libraries, and the rows that models are compared on."""

import numpy as np

# Kiln's task, and how the classes of transformers and of PaddleNLP end, where they have one.
HEADS = {
    "encoder": ("Model", "Model"),
    "sequence-classification": ("ForSequenceClassification", "ForSequenceClassification"),
    "multi-label-classification": ("ForSequenceClassification", "ForSequenceClassification"),
    "regression": ("ForSequenceClassification", "ForSequenceClassification"),
    "token-classification": ("ForTokenClassification", "ForTokenClassification"),
    "question-answering": ("ForQuestionAnswering", "ForQuestionAnswering"),
    "masked-lm": ("ForMaskedLM", "ForMaskedLM"),
    "pre-training": ("ForPreTraining", "ForPretraining"),
}
PREFIXES = {"ernie-m": "ErnieM", "ernie": "Ernie", "rembert": "RemBert", "bert": "Bert", "xlm-roberta": "XLMRoberta"}
PAD = {"ernie-m": 1, "xlm-roberta": 1}
LABELS = {"sequence-classification": 3, "multi-label-classification": 4, "regression": 1, "token-classification": 5}
PROBLEMS = {"multi-label-classification": "multi_label_classification", "regression": "regression"}
# Heads that are compared once: they are a classifier's with another word in config.json.
ONCE = {"multi-label-classification": "bert", "regression": "xlm-roberta"}
VOCABULARY, COLUMNS = 300, 12


def class_of(family, head, library):
    """The class's name; the library may not have it."""
    return PREFIXES[family] + HEADS[head][library == "paddle"]


def heads_of(family):
    return [head for head in HEADS if ONCE.get(head, family) == family]


def sizes(family):
    """A small network in config.json's words. PaddleNLP's ERNIE-M knows no feed-forward size but four times the hidden size."""
    words = dict(vocab_size=VOCABULARY, hidden_size=24, num_hidden_layers=2, num_attention_heads=4, intermediate_size=96,
                 max_position_embeddings=40, pad_token_id=PAD.get(family, 0))
    if family == "rembert":
        words.update(input_embedding_size=16, output_embedding_size=20)
    return words


def rows(family, vocabulary=VOCABULARY, task_types=False):
    """Ids of a full, a padded and a short row, with types where the family has them."""
    random = np.random.default_rng(7)
    ids = np.full((3, COLUMNS), PAD.get(family, 0), dtype=np.int64)
    mask, types = np.zeros_like(ids), np.zeros_like(ids)
    for row, length in enumerate([COLUMNS, 8, 4]):
        ids[row, :length] = random.integers(5, vocabulary, length)
        mask[row, :length] = 1
        types[row, length // 2 : length] = 1
    arrays = {"input_ids": ids, "attention_mask": mask}
    if family not in ("ernie-m", "xlm-roberta"):
        arrays["token_type_ids"] = types
    if task_types:
        arrays["task_type_ids"] = np.where(mask == 1, 2, 0)
    return arrays


def difference(ours, theirs, mask):
    """The largest difference of outputs of the same names, over real tokens where they are by token; None where none is shared."""
    shared = [name for name in theirs if name in ours]
    if not shared:
        return None
    worst = 0.0
    for name in shared:
        a, b = ours[name].astype(np.float64), theirs[name].astype(np.float64)
        if a.shape != b.shape:
            return float("inf")
        apart = np.abs(a - b)
        if apart.shape[:2] == mask.shape:
            apart = apart[mask == 1]
        worst = max(worst, float(apart.max()) if np.isfinite(apart).all() else float("inf"))
    return worst
