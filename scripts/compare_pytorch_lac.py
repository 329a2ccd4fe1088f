"""Both sides of the step of LAC's tagger in scripts/compare_pytorch.py: what benches/tagging_step.rs has, with wider cells and an update.

Words of a table of 128 and the features of an ELMo (cells of 1024, projections of 512: nn.LSTM projects to fewer only), which is not trained but for the
mixture of its layers; two layers of GRUs of 256 in both directions; a CRF over 60 labels. Rows are full. PyTorch's ELMo is nn.LSTM, which clips nothing; its
GRUs are nn.GRU, and its CRF is written plainly, step by step over all rows.
"""

import json
import resource
import time

from gpu_check_table import NEVER, Case, to_the_end, write_data

WORD, GRU, LABELS = 128, 256, 60


def elmo_case(case):
    """The ELMo whose features the tagger has."""
    return Case("ELMo-features", "elmo", 16, 20, words=case.words, hidden=case.hidden, layers=case.layers, embedding=case.embedding)


def write_rows(case, folder):
    """The vocabulary, and rows with a tag for each word."""
    write_data(elmo_case(case), folder)
    words = (folder / "vocab.txt").read_text().split("\n")[3:-1]
    rows = []
    for row in range(8 * case.rows):
        places = [row * case.tokens + at for at in range(case.tokens)]
        tokens, tags = [words[place * 31 % len(words)] for place in places], [f"t{place * 31 % LABELS}" for place in places]
        rows.append(json.dumps({"tokens": tokens, "tags": tags}))
    (folder / "rows.jsonl").write_text("\n".join(rows) + "\n")
    labels = json.dumps([f"t{label}" for label in range(LABELS)])
    part = 'files = "rows.jsonl"\nformat = "jsonl"\ncolumns = { tokens = "tokens", tags = "tags" }\n'
    facts = f'title = "made up"\nhomepage = "none"\nlicence = "none"\nlanguages = ["en"]\nlabels = {labels}\n'
    (folder / "card.toml").write_text(f"{facts}[[train]]\n{part}[[dev]]\n{part}")


def recipe(features):
    """What makes a recipe; `features` is the folder of the ELMo."""
    def made(case, folder, device, window):
        return f"""[model]
architecture = "elmo"
tokenizer = "{folder}"
[model.config]
word_emb_dim = {WORD}
[features]
elmo = "{features}"
[task]
name = "token-classification"
crf = true
bigru_num = 2
grnn_hidden_dim = {GRU}
[data]
dataset = "{folder}/card.toml"
root = "{folder}"
max_seq_length = {case.tokens}
cache = "{folder}/cache"
[training]
max_steps = {NEVER}
batch_size = {case.rows}
logging_steps = {window}
[optimizer]
name = "adam"
learning_rate = 1e-3
{to_the_end(folder, device)}"""
    return made


def timed(case, warm_up, count):
    """PyTorch's side: seconds of a step, and the most memory in use."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    lstm = lambda: nn.LSTM(case.embedding, case.hidden, proj_size=case.embedding, batch_first=True)
    table = nn.Embedding(case.words, case.embedding).requires_grad_(False)
    directions = nn.ModuleList(nn.ModuleList(lstm() for _ in range(case.layers)) for _ in range(2)).requires_grad_(False)
    words = nn.Embedding(case.words, WORD)
    mixture = nn.Parameter(torch.zeros(case.layers + 2))
    gru = nn.GRU(2 * case.embedding + WORD, GRU, num_layers=2, bidirectional=True, batch_first=True)
    classifier = nn.Linear(2 * GRU, LABELS)
    begin, end, turns = (nn.Parameter(torch.randn(shape) / 10) for shape in [(LABELS,), (LABELS,), (LABELS, LABELS)])
    trained = [mixture, begin, end, turns, *words.parameters(), *gru.parameters(), *classifier.parameters()]
    optimizer = torch.optim.Adam(trained, lr=1e-3, fused=True)

    def features(ids):
        layers = [[table(ids)] * 2]
        with torch.no_grad():
            for number in range(case.layers):
                forward, backward = layers[-1]
                out = directions[0][number](forward)[0], directions[1][number](backward.flip(1))[0].flip(1)
                layers.append([y + x if number else y for x, y in zip(layers[-1], out)])
        mixed = torch.stack([nn.functional.dropout(torch.cat(layer, 2), 0.5) for layer in layers])
        return mixture[-1].exp() * torch.einsum("l,lbsh->bsh", mixture[:-1].softmax(0), mixed)

    def crf(scores, labels):
        """The mean of the rows' negative log-likelihoods, of scores `[rows, steps, labels]`."""
        right = scores.gather(2, labels[:, :, None]).sum((1, 2)) + begin[labels[:, 0]] + end[labels[:, -1]] + turns[labels[:, :-1], labels[:, 1:]].sum(1)
        all_paths = begin + scores[:, 0]
        for step in range(1, scores.shape[1]):
            all_paths = (all_paths[:, :, None] + turns).logsumexp(1) + scores[:, step]
        return ((all_paths + end).logsumexp(1) - right).mean()

    ids = torch.randint(case.words, (8, case.rows, case.tokens))
    labels = torch.randint(LABELS, ids.shape)
    for step in range(warm_up + count):
        if step == warm_up:
            began = time.perf_counter()
        x = torch.cat([features(ids[step % 8]), words(ids[step % 8])], 2)
        loss = crf(classifier(gru(x)[0]), labels[step % 8])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert loss.isfinite()
    return {"seconds": (time.perf_counter() - began) / count, "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10}
