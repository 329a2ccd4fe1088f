"""What the checks found: a table, a list of what failed, and JSON."""

import json

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"


class Results:
    """One result for a row (family and head, or a golden folder) and a column (a check)."""

    def __init__(self):
        self.found = []

    def add(self, row, column, state, cell, why="", **numbers):
        self.found.append({"row": row, "check": column, "state": state, "cell": cell, "why": why, **numbers})
        if state == FAILED:
            print(f"FAILED  {row}, {column}: {why}", flush=True)

    def passed(self, row, column, cell, why="", **numbers):
        self.add(row, column, PASSED, cell, why, **numbers)

    def failed(self, row, column, why, **numbers):
        self.add(row, column, FAILED, "FAILED", why, **numbers)

    def skipped(self, row, column, why):
        self.add(row, column, SKIPPED, "skipped", why)

    def table(self, columns):
        """A row a family and head; a cell is empty where the library has no such class or there is no such check."""
        found = [result for result in self.found if result["check"] in columns]
        rows = list(dict.fromkeys(result["row"] for result in found))
        columns = [column for column in columns if any(result["check"] == column for result in found)]
        cells = {(result["row"], result["check"]): result["cell"] for result in found}
        lines = [["", *columns]] + [[row, *(cells.get((row, column), "") for column in columns)] for row in rows]
        widths = [max(len(line[at]) for line in lines) for at in range(len(columns) + 1)]
        shown = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths)) + " |" for line in lines]
        shown.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
        return "\n".join(shown)

    def count(self, state):
        return sum(result["state"] == state for result in self.found)

    def reasons(self, state):
        """Each reason once, with how often and where first."""
        reasons = {}
        for result in self.found:
            if result["state"] == state and result["why"]:
                reasons.setdefault(result["why"], []).append(f"{result['row']}, {result['check']}")
        return [f"{len(places)} {state} ({places[0]}{', ...' if len(places) > 1 else ''}): {why}" for why, places in reasons.items()]

    def write(self, path, versions):
        path.write_text(json.dumps({"versions": versions, "results": self.found}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


# What is no weight, and left out: the numbers of positions, which PaddleNLP's RemBERT saves and makes by itself; the mixture of ELMo's layers,
# which AllenNLP keeps in the model around it.
NO_WEIGHTS = ("position_ids", "mix.layer_weights", "mix.scale")


def weights(tensors):
    return {name: value for name, value in tensors.items() if not name.endswith(NO_WEIGHTS)}


def compare(before, after):
    """How two sets of tensors differ: what is lost, new or changed. A tensor under one name only is none of these if its bytes stand
    under another name in both: it is tied, and files may name it once or twice."""
    tied = set(before.values()) & set(after.values())
    before, after = weights(before), weights(after)
    lost = [name for name in before if name not in after and before[name] not in tied]
    new = [name for name in after if name not in before and after[name] not in tied]
    changed = [name for name in before if name in after and before[name] != after[name]]
    found = {"lost": lost, "new": new, "changed": changed}
    return "; ".join(f"{word}: {', '.join(names[:4])}{' ...' if len(names) > 4 else ''}" for word, names in found.items() if names)
