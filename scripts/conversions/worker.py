"""A library in a Python of its own: the check asks by lines of JSON, the library's process answers by lines."""

import hashlib
import json
import os
import subprocess
import sys
import traceback


def tensor_sum(array):
    """What two equal tensors share: shape, type and the hash of their bytes."""
    import numpy as np

    array = np.ascontiguousarray(array)
    return f"{array.dtype.name}{list(array.shape)}:{hashlib.sha256(array.tobytes()).hexdigest()[:32]}"


def serve(commands):
    """Answers each line on stdin. What the library prints goes to stderr."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        job = json.loads(line)
        try:
            answer = commands[job.pop("command")](**job)
        except Exception as error:  # whatever a library raises is the answer
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}".strip().split("\n")[0][:300]}
        print(json.dumps(answer), file=answers, flush=True)


class Library:
    """The process of a library, started with the first question."""

    def __init__(self, name, python, script, log):
        self.name, self.python, self.script, self.log = name, python, script, log
        self.process = None

    def __call__(self, command, **arguments):
        """What the library answers: a dictionary, with the word `error` where it raised."""
        if self.process is None:
            environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "CUDA_VISIBLE_DEVICES": ""}
            with open(self.log, "w", encoding="utf-8") as log:
                command_line = [self.python, self.script, "--serve", self.name]
                self.process = subprocess.Popen(
                    command_line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, encoding="utf-8", env=environment
                )
        words = {key: str(value) if isinstance(value, os.PathLike) else value for key, value in arguments.items()}
        try:
            print(json.dumps({"command": command, **words}), file=self.process.stdin, flush=True)
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            return {"error": f"{self.name} ended with {self.process.wait()}: see {self.log}"}
        return json.loads(line)

    def close(self):
        if self.process is not None:
            self.process.stdin.close()
            self.process.wait()
