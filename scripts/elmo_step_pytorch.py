"""One training step of ELMo's language model in PyTorch, for comparison with `cargo bench --bench elmo_step`: cells of 1024,
projections of 512, two layers in each direction, 16 streams of 20 words, a vocabulary of 8,000 words, Adagrad, two threads.

PyTorch's own LSTM has the projection but no clipping, so that it does a little less; `--loop` is the model as it is, step by step
in tensor operations, with clipping. Written for torch 2.4.
"""

import argparse
import statistics
import time

import torch
from torch import nn

STREAMS, STEPS, WORDS, CELL, SIZE, CLIP = 16, 20, 8000, 1024, 512, 3.0


class Loop(nn.Module):
    """A layer with Baidu's clipping, step by step."""

    def __init__(self):
        super().__init__()
        self.input = nn.Linear(SIZE, 4 * CELL)
        self.recurrent = nn.Parameter(torch.randn(SIZE, 4 * CELL) * 0.02)
        self.projection = nn.Parameter(torch.randn(CELL, SIZE) * 0.02)

    def forward(self, x):
        gates_x = self.input(x)
        hidden, cell = x.new_zeros(STREAMS, SIZE), x.new_zeros(STREAMS, CELL)
        outputs = []
        for step in range(STEPS):
            candidate, i, f, o = (gates_x[:, step] + hidden @ self.recurrent).chunk(4, 1)
            cell = (candidate.tanh() * i.sigmoid() + cell * f.sigmoid()).clamp(-CLIP, CLIP)
            hidden = ((o.sigmoid() * cell.tanh()) @ self.projection).clamp(-CLIP, CLIP)
            outputs.append(hidden)
        return torch.stack(outputs, 1), None


class Model(nn.Module):
    def __init__(self, loop):
        super().__init__()
        layer = Loop if loop else lambda: nn.LSTM(SIZE, CELL, proj_size=SIZE, batch_first=True)
        self.embedding = nn.Embedding(WORDS, SIZE)
        self.directions = nn.ModuleList([nn.ModuleList([layer(), layer()]) for _ in range(2)])
        self.softmax = nn.Linear(SIZE, WORDS)

    def forward(self, sides):
        losses = []
        for layers, (words, targets) in zip(self.directions, sides):
            x = nn.functional.dropout(self.embedding(words), 0.1)
            first, _ = layers[0](nn.functional.dropout(x, 0.1))
            x = nn.functional.dropout(first, 0.1)
            second, _ = layers[1](nn.functional.dropout(x, 0.1))
            top = nn.functional.dropout(second + x, 0.1)
            losses.append(nn.functional.cross_entropy(self.softmax(top).flatten(0, 1), targets.flatten()))
        return sum(losses) / 2 * STEPS


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loop", action="store_true")
    loop = parser.parse_args().loop
    torch.set_num_threads(2)
    torch.manual_seed(0)
    model = Model(loop)
    optimizer = torch.optim.Adagrad(model.parameters(), lr=0.2, initial_accumulator_value=1.0, eps=0.0)
    sides = [(torch.randint(WORDS, (STREAMS, STEPS)), torch.randint(WORDS, (STREAMS, STEPS))) for _ in range(2)]
    times = []
    for _ in range(12):
        start = time.perf_counter()
        optimizer.zero_grad()
        model(sides).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        times.append(time.perf_counter() - start)
    kept = times[2:]
    kind = "step by step, clipped" if loop else "nn.LSTM"
    print(f"torch {torch.__version__}, {kind}: {statistics.median(kept):.3f} s a step ({min(kept):.3f} to {max(kept):.3f})")


if __name__ == "__main__":
    main()
