"""What is asked of PaddleNLP."""

import os
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import pyarrow  # noqa: F401  Imported after paddle it crashes the process.

import paddle
import paddlenlp
from paddlenlp import transformers
from safetensors.numpy import load_file, save_file

from conversions.families import LABELS, class_of, sizes
from conversions.worker import tensor_sum

# Kiln's names of what a head returns, in its order.
RETURNED = {"encoder": ["last_hidden_state", "pooled"], "question-answering": ["start_logits", "end_logits"], "masked-lm": ["prediction_logits"],
            "pre-training": ["prediction_logits", "seq_relationship_logits"]}
# PaddleNLP's masked-LM head of RemBERT ends at the hidden size: it has no vocabulary.
WITHOUT = [("rembert", "masked-lm")]


def versions():
    return {"paddlenlp": paddlenlp.__version__, "paddlepaddle": paddle.__version__}


def has(family, head):
    return {"has": hasattr(transformers, class_of(family, head, "paddle")) and (family, head) not in WITHOUT}


def make(family, head, folder, seed, task_types=False):
    """Saves a model of random weights."""
    words = sizes(family)
    if head in LABELS:
        words["num_labels"] = LABELS[head]
    if task_types:
        words.update(use_task_id=True, task_type_vocab_size=3)
    kind = getattr(transformers, class_of(family, head, "paddle"))
    paddle.seed(seed)
    model = kind(kind.config_class(**words))
    for name, parameter in model.named_parameters():
        noise = paddle.randn(parameter.shape)
        is_scale = parameter.ndim == 1 and "norm" in name.lower() and name.endswith("weight")
        parameter.set_value(1.0 + 0.2 * noise if is_scale else (0.3 if parameter.ndim > 1 else 0.2) * noise)
    model.save_pretrained(folder)
    return {}


def open_model(family, head, folder, ids, output):
    """Opens a folder, computes its outputs; says what was missing, and the sums of its tensors."""
    model = getattr(transformers, class_of(family, head, "paddle")).from_pretrained(folder)
    model.eval()
    inputs = {name: paddle.to_tensor(value) for name, value in load_file(ids).items()}
    save_file(outputs(model, head, inputs), output)
    given = read(folder)["tensors"]
    state = {name: tensor_sum(value.numpy()) for name, value in model.state_dict().items()}
    answer = {"tensors": state}
    # PaddleNLP reports what was missing in its log alone: the file says it as well.
    missing, unexpected = sorted(state.keys() - given.keys()), sorted(given.keys() - state.keys())
    changed = sorted(name for name in state.keys() & given.keys() if state[name] != given[name])
    for word, names in (("missing", missing), ("unexpected", unexpected), ("mismatched", changed)):
        if names:
            answer[word] = names
    return answer


def texts(family, head, folder, texts, output):
    """Outputs of texts, through the folder's own tokenizer."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = getattr(transformers, class_of(family, head, "paddle")).from_pretrained(folder)
    model.eval()
    rows = [tokenizer(line)["input_ids"] for line in Path(texts).read_text(encoding="utf-8").splitlines()]
    longest = max(map(len, rows))
    ids = paddle.to_tensor([row + [tokenizer.pad_token_id] * (longest - len(row)) for row in rows])
    mask = paddle.to_tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    save_file({**outputs(model, head, {"input_ids": ids, "attention_mask": mask}), "attention_mask": mask.numpy()}, output)
    return {"tokenizer": type(tokenizer).__name__}


def outputs(model, head, inputs):
    """What the model returns, by Kiln's names."""
    # What is added to the scores: RemBERT would add a mask of ones and zeros as it is.
    mask = ((1.0 - inputs["attention_mask"].astype("float32")) * -1e4).unsqueeze([1, 2])
    with paddle.no_grad():
        found = model(**{**inputs, "attention_mask": mask})
    found = found if isinstance(found, (tuple, list)) else [found]
    if head == "question-answering":
        found = [value.reshape(inputs["input_ids"].shape) for value in found]  # RemBERT's have a last axis of one
    return {name: value.numpy() for name, value in zip(RETURNED.get(head, ["logits"]), found)}


def read(folder):
    """The sums of the tensors of a folder's .pdparams."""
    names = [name for name in sorted(os.listdir(folder)) if name.endswith(".pdparams")]
    state = {}
    for name in names:
        state.update(paddle.load(os.path.join(folder, name), return_numpy=True))
    return {"tensors": {name: tensor_sum(value) for name, value in state.items() if hasattr(value, "dtype")}}


COMMANDS = {"versions": versions, "has": has, "make": make, "open_model": open_model, "read": read, "texts": texts}
