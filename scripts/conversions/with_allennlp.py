"""What is asked of AllenNLP: ELMo from options.json and an .hdf5."""

import json
import os
from pathlib import Path

import h5py
import numpy as np
import torch
from allennlp.modules.elmo import _ElmoBiLm
from allennlp.version import VERSION
from safetensors.numpy import load_file, save_file

from conversions.worker import tensor_sum

OPTIONS = {"lstm": {"cell_clip": 3, "dim": 24, "n_layers": 2, "proj_clip": 3, "projection_dim": 16, "use_skip_connections": True},
           "char_cnn": {"activation": "relu", "embedding": {"dim": 8}, "filters": [[1, 6], [2, 8], [3, 10]], "max_characters_per_token": 50,
                        "n_characters": 262, "n_characters_in_model": 261, "n_highway": 2}}


def versions():
    return {"allennlp": VERSION, "torch": torch.__version__, "h5py": h5py.__version__}


def weights_of(folder):
    return next(os.path.join(folder, name) for name in sorted(os.listdir(folder)) if name.endswith(".hdf5"))


def make(folder, seed):
    """Random weights as bilm-tf writes them: AllenNLP reads that layout and writes none."""
    random = np.random.default_rng(seed)
    lstm, characters = OPTIONS["lstm"], OPTIONS["char_cnn"]
    cell, projection, depth = lstm["dim"], lstm["projection_dim"], characters["embedding"]["dim"]
    width = sum(count for _, count in characters["filters"])
    draw = lambda *shape: (0.4 * random.standard_normal(shape)).astype(np.float32)
    os.makedirs(folder)
    Path(folder, "options.json").write_text(json.dumps(OPTIONS))
    with h5py.File(os.path.join(folder, "weights.hdf5"), "w") as file:
        file["char_embed"] = draw(characters["n_characters_in_model"], depth)
        for number, (size, count) in enumerate(characters["filters"]):
            file[f"CNN/W_cnn_{number}"], file[f"CNN/b_cnn_{number}"] = draw(1, size, depth, count), draw(count)
        for layer in range(characters["n_highway"]):
            for part in ("carry", "transform"):
                file[f"CNN_high_{layer}/W_{part}"], file[f"CNN_high_{layer}/b_{part}"] = draw(width, width), draw(width)
        file["CNN_proj/W_proj"], file["CNN_proj/b_proj"] = draw(width, projection), draw(projection)
        for direction in range(2):
            for layer in range(lstm["n_layers"]):
                name = f"RNN_{direction}/RNN/MultiRNNCell/Cell{layer}/LSTMCell"
                file[f"{name}/W_0"], file[f"{name}/B"] = draw(2 * projection, 4 * cell), draw(4 * cell)
                file[f"{name}/W_P_0"] = draw(cell, projection)
    return {}


def ids(output):
    """Characters of random words, two sentences; 0 is padding, as in AllenNLP."""
    from allennlp.modules.elmo import batch_to_ids

    sentences = [["He", "gets", "paid", "medical", "care", "."], ["军官", "享受", "公费"], ["."]]
    save_file({"char_ids": batch_to_ids(sentences).numpy()}, output)
    return {}


def open_model(folder, ids, output):
    """Opens a folder, computes its layers, without the marks of begin and end; the sums of what its file holds."""
    from allennlp.modules.elmo import remove_sentence_boundaries

    model = _ElmoBiLm(os.path.join(folder, "options.json"), weights_of(folder)).eval()
    with torch.no_grad():
        found = model(torch.from_numpy(load_file(ids)["char_ids"]))
    outputs = {}
    for number, layer in enumerate(found["activations"]):
        values, mask = remove_sentence_boundaries(layer, found["mask"])
        outputs[f"layer.{number}"] = (values * mask.unsqueeze(-1)).numpy()
    save_file({**outputs, "mask": mask.numpy().astype(np.int64)}, output)
    return {"tensors": read(folder)["tensors"]}


def read(folder):
    """The sums of a file's tensors; of the biases with 1 added to the forget gates, as all who read the file hold them: what that rounds
    away cannot come back."""
    sums = {}

    def add(name, item):
        if isinstance(item, h5py.Dataset):
            values = item[()]
            if name.endswith("LSTMCell/B"):
                cell = len(values) // 4
                values[2 * cell : 3 * cell] += 1
            sums[name] = tensor_sum(values)

    with h5py.File(weights_of(folder), "r") as file:
        file.visititems(add)
    return {"tensors": sums}


COMMANDS = {"versions": versions, "make": make, "ids": ids, "open_model": open_model, "read": read}
