#!/usr/bin/env python3
"""Checks that Kiln and Python's huggingface_hub find what the other has fetched, against a hub on this machine.

    pip install huggingface_hub        # 0.26.5 and 2.4.0 were tried
    python scripts/check_hub_cache.py target/release/kiln MODEL_FOLDER

MODEL_FOLDER is a folder of Kiln's or Hugging Face's with a head that `kiln predict` knows, such as a run's `best/`. Nothing leaves this
machine.
"""

import hashlib
import http.server
import os
import pathlib
import json
import subprocess
import sys
import tempfile
import threading

COMMIT = "0123456789abcdef0123456789abcdef01234567"
ID = "kiln/tiny"


class Hub(http.server.BaseHTTPRequestHandler):
    """A repository with the files of a folder. Weights are redirected, as large files are."""

    files: dict = {}
    asked: list = []

    def do_HEAD(self):
        self.answer(with_body=False)

    def do_GET(self):
        self.answer(with_body=True)

    def answer(self, with_body):
        path = self.path.split("?")[0]
        self.asked.append(f"{self.command} {path}")
        if path in (f"/api/models/{ID}/revision/main", f"/api/models/{ID}/revision/{COMMIT}"):
            siblings = [{"rfilename": name} for name in self.files]
            info = {"id": ID, "modelId": ID, "sha": COMMIT, "siblings": siblings, "private": False, "tags": [], "downloads": 0, "likes": 0}
            return self.send(200, {}, json.dumps(info).encode(), with_body)
        if path.startswith(f"/api/models/{ID}/tree/"):
            entries = [self.entry(name, data) for name, data in self.files.items()]
            return self.send(200, {}, json.dumps(entries).encode(), with_body)
        if path.startswith("/store/"):
            data = next(data for data in self.files.values() if path.endswith(hashlib.sha256(data).hexdigest()))
            return self.send(200, {}, data, with_body)
        for revision in ("main", COMMIT):
            name = path.removeprefix(f"/{ID}/resolve/{revision}/")
            if name in self.files:
                return self.file(name, self.files[name], with_body)
        self.send(404, {"X-Error-Code": "EntryNotFound"}, b"", with_body)

    def entry(self, name, data):
        entry = {"type": "file", "path": name, "size": len(data), "oid": git_blob(data)}
        if name.endswith(".safetensors"):
            entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 100}
        return entry

    def file(self, name, data, with_body):
        headers = {"X-Repo-Commit": COMMIT}
        if not name.endswith(".safetensors"):
            return self.send(200, headers | {"ETag": f'"{git_blob(data)}"'}, data, with_body)
        digest = hashlib.sha256(data).hexdigest()
        store = f"http://localhost:{self.server.server_port}/store/{digest}"
        headers |= {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(data)), "Location": store}
        self.send(302, headers, b"", with_body)

    def send(self, status, headers, body, with_body):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, *_):
        pass


def git_blob(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def python(code, environment):
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"Python failed:\n{done.stderr}")
    return done.stdout.strip()


def predict(kiln, address, environment):
    row = "premise\thypothesis\nA cat sleeps.\tA cat sleeps.\n"
    command = [kiln, "predict", address, "--input", "-"]
    done = subprocess.run(command, env=environment, input=row, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"Kiln failed:\n{done.stderr}")
    return done.stdout


def listing(cache):
    return sorted(str(path.relative_to(cache)) for path in cache.rglob("*") if path.is_symlink())


def main():
    kiln, model = str(pathlib.Path(sys.argv[1]).resolve()), pathlib.Path(sys.argv[2])
    Hub.files = {path.name: path.read_bytes() for path in model.iterdir() if path.is_file()}
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    plain = {name: value for name, value in os.environ.items() if "proxy" not in name.lower() and not name.startswith("HF_")}
    endpoint = f"http://127.0.0.1:{server.server_port}"
    local = predict(kiln, str(model), plain)

    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        online = plain | {"HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_XET": "1", "HF_HUB_CACHE": first}
        version = python("import huggingface_hub; print(huggingface_hub.__version__)", plain)
        folder = python(f"from huggingface_hub import snapshot_download as s; print(s({ID!r}))", online)
        print(f"huggingface_hub {version} has fetched {len(os.listdir(folder))} files with {len(Hub.asked)} requests")
        for address, more in [(f"hf://{ID}@{COMMIT}", {}), (f"hf://{ID}", {"HF_HUB_OFFLINE": "1"})]:
            Hub.asked.clear()
            assert predict(kiln, address, online | more) == local
            print(f"  kiln predict {address} {more}: the same line; requests: {len(Hub.asked)}")
            assert not Hub.asked, Hub.asked
        Hub.asked.clear()
        assert predict(kiln, f"hf://{ID}", online) == local
        print(f"  kiln predict hf://{ID}, with a network: the same line; requests: {Hub.asked}")

        online["HF_HUB_CACHE"] = second
        Hub.asked.clear()
        assert predict(kiln, f"hf://{ID}", online) == local
        print(f"Kiln has fetched with {len(Hub.asked)} requests:")
        links = listing(pathlib.Path(second))
        print("  " + "\n  ".join(links))
        Hub.asked.clear()
        offline = online | {"HF_HUB_OFFLINE": "1"}
        for name in ("config.json", "model.safetensors"):
            code = f"from huggingface_hub import hf_hub_download as h; print(h({ID!r}, {name!r}))"
            found = pathlib.Path(python(code, offline))
            assert found.read_bytes() == Hub.files[name]
        code = f"from huggingface_hub import snapshot_download as s; print(s({ID!r}))"
        assert pathlib.Path(python(code, offline)) == found.parent
        code = f"from huggingface_hub import scan_cache_dir as s; i = s(); print(i.size_on_disk, len(i.warnings))"
        print(f"  huggingface_hub, offline, finds them; scan_cache_dir: size and warnings {python(code, offline)}")
        assert not Hub.asked, Hub.asked
        # What Kiln has left out, Python adds to the same snapshot, and Kiln's files are not fetched again.
        python(code.replace("i = s(); print(i.size_on_disk, len(i.warnings))", "pass"), online)
        python(f"from huggingface_hub import snapshot_download as s; s({ID!r})", online)
        again = [line for line in Hub.asked if line.startswith("GET /store/") or line == f"GET /{ID}/resolve/main/config.json"]
        print(f"  huggingface_hub, online, adds the rest with {len(Hub.asked)} requests, {len(again)} of them for what was there")
        assert not again


if __name__ == "__main__":
    main()
