"""The few answers of a W&B server that an online run and ``wandb sync`` wait for; what it receives is kept."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


class Server:
    """What a server was told: runs by their id, and the history rows of each."""

    def __init__(self) -> None:
        self.runs: dict[str, dict[str, Any]] = {}
        self.history: dict[str, list[dict[str, Any]]] = {}
        self.summary: dict[str, dict[str, Any]] = {}
        self.failing = False
        self.requests = 0
        self.url = ""

    def graphql(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        """The answer to a query."""
        entity = {"name": "entity"}
        if "upsertBucket" in query:
            name = variables["name"]
            self.runs.setdefault(name, {}).update({key: value for key, value in variables.items() if value is not None})
            project = {"id": "project", "name": variables.get("project") or "segloss", "entity": entity}
            bucket = {
                "id": name,
                "name": name,
                "displayName": variables.get("displayName") or name,
                "description": "",
                "config": variables.get("config") or "{}",
                "sweepName": None,
                "historyLineCount": 0,
                "project": project,
            }
            return {"upsertBucket": {"bucket": bucket, "inserted": True}}
        if "createRunFiles" in query:
            files = [{"name": name, "uploadUrl": f"{self.url}/put"} for name in variables.get("files", [])]
            return {"createRunFiles": {"runID": "run", "uploadHeaders": [], "files": files}}
        if "viewer" in query:
            viewer = {"id": "viewer", "entity": "entity", "username": "entity", "flags": "{}", "teams": {"edges": []}}
            return {
                "viewer": viewer,
                "serverInfo": {"cliVersionInfo": {}, "latestLocalVersionInfo": None, "features": []},
            }
        if "serverInfo" in query:
            return {"serverInfo": {"cliVersionInfo": {}, "latestLocalVersionInfo": None, "features": []}}
        return {"model": {"bucket": None}, "project": None}

    def stream(self, run: str, body: dict[str, Any]) -> None:
        """Rows of history and the summary as a run sends them."""
        files = body.get("files", {})
        for line in files.get("wandb-history.jsonl", {}).get("content", []):
            self.history.setdefault(run, []).append(json.loads(line))
        for line in files.get("wandb-summary.json", {}).get("content", []):
            self.summary.setdefault(run, {}).update(json.loads(line))


@contextmanager
def serving() -> Iterator[Server]:
    """A server on this machine."""
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            server.requests += 1
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if server.failing:
                self.send_response(500)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            content: dict[str, Any] = {}
            if self.path.startswith("/graphql"):
                asked = json.loads(body)
                content = {"data": server.graphql(asked["query"], asked.get("variables") or {})}
            elif self.path.endswith("/file_stream"):
                server.stream(self.path.split("/")[-2], json.loads(body))
            data = json.dumps(content).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = answer

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.url = f"http://127.0.0.1:{http.server_port}"
    Thread(target=http.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
