"""PyTorch's side of scripts/gpu_check_table.py: the same shapes in plain torch.nn, one line of JSON for each step that is timed.

    python3 scripts/gpu_check_pytorch.py [--small]

Parameters are f32 throughout; "bf16" is torch.autocast, "f32" allows TF32 in products. Attention is scaled_dot_product_attention without a mask,
where all rows are full: its fastest way. AdamW and Adagrad are PyTorch's own, AdamW the fused one. ELMo's LSTMs are nn.LSTM with a
projection, which clips nothing. Memory is what PyTorch's allocator had handed out at most. Written for torch 2.4 and later.
"""

import argparse
import gc
import json
import resource
import time

import torch
from torch import nn
from torch.nn import functional

from gpu_check_table import LARGE, SMALL

DROPOUT = 0.1


class Layer(nn.Module):
    def __init__(self, case):
        super().__init__()
        self.heads = case.heads
        self.act = {"gelu": functional.gelu, "relu": functional.relu}[case.act]
        self.qkv = nn.Linear(case.hidden, 3 * case.hidden)
        self.out = nn.Linear(case.hidden, case.hidden)
        self.inner = nn.Linear(case.hidden, 4 * case.hidden)
        self.outer = nn.Linear(4 * case.hidden, case.hidden)
        self.norm1, self.norm2 = nn.LayerNorm(case.hidden), nn.LayerNorm(case.hidden)

    def forward(self, x, mask):
        rows, tokens, hidden = x.shape
        dropout = DROPOUT if self.training else 0.0
        q, k, v = self.qkv(x).view(rows, tokens, 3, self.heads, hidden // self.heads).permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(q, k, v, mask, dropout_p=dropout)
        seen = self.out(seen.transpose(1, 2).reshape(rows, tokens, hidden))
        x = self.norm1(x + functional.dropout(seen, dropout))
        return self.norm2(x + functional.dropout(self.outer(self.act(self.inner(x))), dropout))


class Encoder(nn.Module):
    """Any of the encoders, with a classifier on the first token."""

    def __init__(self, case):
        super().__init__()
        width = case.embedding or case.hidden
        self.words, self.positions = nn.Embedding(case.words, width), nn.Embedding(case.positions, width)
        self.types = nn.Embedding(2, width)
        self.norm = nn.LayerNorm(width)
        self.projection = nn.Linear(width, case.hidden) if case.embedding else nn.Identity()
        self.layers = nn.ModuleList(Layer(case) for _ in range(case.layers))
        self.pooler, self.classifier = nn.Linear(case.hidden, case.hidden), nn.Linear(case.hidden, 2)

    def forward(self, ids, labels=None, mask=None):
        places = torch.arange(ids.shape[1], device=ids.device)
        x = self.words(ids) + self.positions(places) + self.types(torch.zeros_like(ids))
        x = self.projection(functional.dropout(self.norm(x), DROPOUT, self.training))
        for layer in self.layers:
            x = layer(x, mask)
        pooled = functional.dropout(torch.tanh(self.pooler(x[:, 0])), DROPOUT, self.training)
        if labels is None:
            return self.classifier(pooled).softmax(1)
        return functional.cross_entropy(self.classifier(pooled).float(), labels)


class Elmo(nn.Module):
    """A language model in both directions, with a softmax over all words."""

    def __init__(self, case):
        super().__init__()
        size = case.embedding
        self.words = nn.Embedding(case.words, size)
        lstm = lambda: nn.LSTM(size, case.hidden, proj_size=size, batch_first=True)
        self.directions = nn.ModuleList(nn.ModuleList(lstm() for _ in range(case.layers)) for _ in range(2))
        self.softmax = nn.Linear(size, case.words)

    def forward(self, ids, targets):
        loss = 0.0
        for layers, ids, targets in zip(self.directions, [ids, ids.flip(1)], [targets, targets.flip(1)]):
            x = functional.dropout(self.words(ids), DROPOUT)
            for number, layer in enumerate(layers):
                y = layer(functional.dropout(x, DROPOUT))[0]
                x = y + x if number else y
            logits = self.softmax(functional.dropout(x, DROPOUT)).flatten(0, 1)
            loss = loss + functional.cross_entropy(logits.float(), targets.flatten()) / 2
        return loss


def padded(case, lengths):
    """Made-up rows of these lengths, and their mask for attention; none where all rows are full."""
    width = int(lengths.max())
    ids = torch.randint(case.words, (len(lengths), width))
    return ids, (torch.arange(width) < lengths[:, None])[:, None, None] if case.least else None


def predicted(case, rows, precision):
    """Seconds of a batch of `case.rows` rows without gradients on the processor, of the second time; rows go through sorted by their lengths."""
    torch.manual_seed(0)
    model = Encoder(case).eval()
    lengths = torch.randint(case.least or case.tokens, case.tokens + 1, (rows,)).sort(descending=True).values
    batches = [padded(case, some) for some in lengths.split(case.rows)]
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        for _ in range(2):
            began = time.perf_counter()
            for ids, mask in batches:
                model(ids, mask=mask)
    return {"seconds": (time.perf_counter() - began) / len(batches), "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10}


def timed(case, precision, device, warm_up, count):
    """Seconds of a step, and the most memory in use."""
    torch.manual_seed(0)
    elmo = case.family == "elmo"
    model = (Elmo if elmo else Encoder)(case).to(device).train()
    if elmo:
        optimizer = torch.optim.Adagrad(model.parameters(), lr=0.2, initial_accumulator_value=1.0)
    else:
        decayed = [p for p in model.parameters() if p.dim() > 1]
        rest = [p for p in model.parameters() if p.dim() < 2]
        groups = [{"params": decayed, "weight_decay": 0.01}, {"params": rest, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=1e-5, fused=True)
    lengths = torch.randint(case.least or case.tokens, case.tokens + 1, (8, case.rows))
    batches = [padded(case, some) for some in lengths]
    batches = [(ids.to(device), torch.randint(case.words, ids.shape, device=device) if elmo else torch.randint(2, ids.shape[:1], device=device))
               + (() if mask is None else (mask.to(device),)) for ids, mask in batches]
    on_card = device.type == "cuda"
    if on_card:
        torch.cuda.reset_peak_memory_stats()
    for step in range(warm_up + count):
        if step == warm_up:
            if on_card:
                torch.cuda.synchronize()
            began = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            loss = model(*batches[step % 8])
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 10.0 if elmo else 1.0)
        optimizer.step()
        optimizer.zero_grad()
    if on_card:
        torch.cuda.synchronize()
    seconds = (time.perf_counter() - began) / count
    memory = torch.cuda.max_memory_allocated() if on_card else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    assert loss.isfinite()
    return {"seconds": seconds, "memory": memory, "note": f"mean of {count} steps"}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true")
    small = parser.parse_args().small
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    for case in SMALL if small else LARGE:
        for precision in ["bf16", "f32"]:
            try:
                if device.type == "cpu" and not small:
                    got = {"why": "skipped: PyTorch finds no card"}
                else:
                    got = timed(case, precision, device, *((1, 2) if small else (5, 15)))
            except RuntimeError as problem:
                got = {"why": f"failed: {str(problem).splitlines()[0]}"}
            print(json.dumps({"label": case.label(), "precision": precision, **got}), flush=True)
            gc.collect()
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
