"""What is asked of transformers, sentence-transformers and optimum-onnx."""

from pathlib import Path

from conversions.families import LABELS, PROBLEMS, class_of, sizes
from conversions.worker import tensor_sum

# Names of outputs: transformers' and Kiln's.
OUTPUTS = {"logits": "logits", "start_logits": "start_logits", "end_logits": "end_logits", "prediction_logits": "prediction_logits",
           "seq_relationship_logits": "seq_relationship_logits", "last_hidden_state": "last_hidden_state", "pooler_output": "pooled"}


def versions():
    import torch
    import transformers

    found = {"transformers": transformers.__version__, "torch": torch.__version__}
    for name in ("sentence_transformers", "onnxruntime", "tokenizers"):
        try:
            found[name] = __import__(name).__version__
        except ImportError:
            pass
    return found


def has(family, head):
    import transformers

    return {"has": hasattr(transformers, class_of(family, head, "transformers"))}


def make(family, head, folder, seed, task_types=False):
    """Saves a model of random weights, large enough that outputs differ from token to token."""
    import torch
    import transformers

    words = sizes(family)
    if head in LABELS:
        words["num_labels"] = LABELS[head]
    if head in PROBLEMS:
        words["problem_type"] = PROBLEMS[head]
    if task_types:
        words.update(use_task_id=True, task_type_vocab_size=3)
    kind = getattr(transformers, class_of(family, head, "transformers"))
    torch.manual_seed(seed)
    model = kind(kind.config_class(**words))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape)
            is_scale = parameter.dim() == 1 and "norm" in name.lower() and name.endswith("weight")
            parameter.copy_(1.0 + 0.2 * noise if is_scale else (0.3 if parameter.dim() > 1 else 0.2) * noise)
    model.save_pretrained(folder)
    return {}


def open_model(family, head, folder, ids, output, dtype=None):
    """Opens a folder, computes its outputs; says what was missing, and the sums of its tensors, rounded to `dtype` if that is given."""
    import torch
    import transformers
    from safetensors.torch import load_file, save_file

    kind = getattr(transformers, class_of(family, head, "transformers"))
    model, info = kind.from_pretrained(folder, output_loading_info=True)
    if dtype:
        model.to(getattr(torch, dtype))
    inputs = load_file(ids)
    with torch.no_grad():
        found = model.float().eval()(**inputs)
    outputs = {ours: found[theirs].contiguous() for theirs, ours in OUTPUTS.items() if found.get(theirs) is not None}
    save_file(masked_lm(outputs, head), output)
    return {"tensors": {name: tensor_sum(value.numpy()) for name, value in model.state_dict().items()}, **problems(info)}


def masked_lm(outputs, head):
    """Kiln names the logits of a masked-LM head as those of pre-training."""
    return {"prediction_logits" if head == "masked-lm" and name == "logits" else name: value for name, value in outputs.items()}


def problems(info):
    """The load report, without what is empty."""
    words = {"missing": "missing_keys", "unexpected": "unexpected_keys", "mismatched": "mismatched_keys"}
    return {word: sorted(map(str, info[key])) for word, key in words.items() if info.get(key)}


def read(folder):
    """The sums of the tensors of a folder's zip pickle."""
    import torch

    state = torch.load(Path(folder) / "pytorch_model.bin", map_location="cpu", weights_only=True)
    return {"tensors": {name: tensor_sum(value.numpy()) for name, value in state.items()}}


def texts(family, head, folder, texts, output):
    """Outputs of texts, through the folder's own tokenizer."""
    import torch
    import transformers
    from safetensors.torch import save_file

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    kind = getattr(transformers, class_of(family, head, "transformers"))
    model = kind.from_pretrained(folder).eval()
    rows = Path(texts).read_text(encoding="utf-8").splitlines()
    inputs = tokenizer(rows, padding=True, return_tensors="pt")
    with torch.no_grad():
        found = model(**inputs)
        # A pair goes through, too: its type ids must not reach beyond the model's table.
        model(**tokenizer(rows[0], rows[1], return_tensors="pt"))
    outputs = {ours: found[theirs].contiguous() for theirs, ours in OUTPUTS.items() if found.get(theirs) is not None}
    save_file({**masked_lm(outputs, head), "attention_mask": inputs["attention_mask"]}, output)
    return {"tokenizer": type(tokenizer).__name__}


def vectors(folder, texts, output):
    """Mean-pooled, normalised vectors by sentence-transformers."""
    import torch
    from safetensors.torch import save_file
    from sentence_transformers import SentenceTransformer

    try:
        from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    except ImportError:
        from sentence_transformers.models import Pooling, Transformer
    encoder = Transformer(folder)
    pooling = Pooling(encoder.get_embedding_dimension(), "mean")
    model = SentenceTransformer(modules=[encoder, pooling], device="cpu")
    rows = Path(texts).read_text(encoding="utf-8").splitlines()
    found = model.encode(rows, normalize_embeddings=True, convert_to_tensor=True)
    save_file({"embeddings": found.to(torch.float32).contiguous()}, output)
    return {}


ONNX_TASKS = {"encoder": "feature-extraction", "sequence-classification": "text-classification", "multi-label-classification": "text-classification",
              "regression": "text-classification", "token-classification": "token-classification", "question-answering": "question-answering",
              "masked-lm": "fill-mask"}


def onnx(head, folder, target, ids, output):
    """Exports to ONNX and computes with onnxruntime."""
    import onnxruntime
    from optimum.exporters.onnx import main_export
    from safetensors.numpy import load_file, save_file

    main_export(folder, target, task=ONNX_TASKS[head], do_validation=False, local_files_only=True)
    session = onnxruntime.InferenceSession(str(Path(target) / "model.onnx"), providers=["CPUExecutionProvider"])
    wanted, given = [input.name for input in session.get_inputs()], load_file(ids)
    found = session.run(None, {name: given[name] for name in wanted})
    outputs = {OUTPUTS[output.name]: value for output, value in zip(session.get_outputs(), found) if output.name in OUTPUTS}
    save_file(masked_lm(outputs, head), output)
    return {"inputs": wanted}


COMMANDS = {"versions": versions, "has": has, "make": make, "open_model": open_model, "read": read, "texts": texts, "vectors": vectors, "onnx": onnx}
