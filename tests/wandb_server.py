"""The few answers of a W&B server that a live run and ``wandb sync`` wait for; what it receives is kept.

It misbehaves on demand: ``fault`` is ``hang`` (it takes connections and never answers), ``fail`` (500), ``drop`` (it
closes the connection amid its answer) or None; ``faults_after`` is the number of requests answered correctly first.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any


class Server:
    """What a server has received: runs by their id, and the history rows of each."""

    def __init__(self) -> None:
        self.runs: dict[str, dict[str, Any]] = {}
        self.lines: dict[str, dict[int, dict[str, Any]]] = {}
        self.summary: dict[str, dict[str, Any]] = {}
        self.complete: set[str] = set()
        self.files: dict[str, set[str]] = {}
        self.artifacts: dict[str, dict[str, Any]] = {}
        self.fault: str | None = None
        self.faults_after = 0
        self.requests = 0
        self.received = 0
        self.url = ""

    @property
    def history(self) -> dict[str, list[dict[str, Any]]]:
        """The rows of each run; as with W&B's, a line that is sent again takes the place it had."""
        return {run: [rows[place] for place in sorted(rows)] for run, rows in self.lines.items()}

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
                "historyLineCount": len(self.lines.get(name, {})),
                "project": project,
            }
            return {"upsertBucket": {"bucket": bucket, "inserted": True}}
        if (answer := self.artifact(query, variables)) is not None:
            return answer
        if "createRunFiles" in query:
            self.files.setdefault(variables.get("run", ""), set()).update(variables.get("files", []))
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
        run = variables.get("name") or variables.get("run")
        if "historyTail" not in query or run not in self.runs:
            return {"model": {"bucket": None}, "project": None}
        rows = self.history.get(run, [])
        bucket = {
            "id": run,
            "name": run,
            "displayName": self.runs[run].get("displayName") or run,
            "summaryMetrics": json.dumps(self.summary.get(run, {})),
            "logLineCount": 0,
            "historyLineCount": len(rows),
            "eventsLineCount": 0,
            "historyTail": json.dumps([json.dumps(row) for row in rows[-1:]]),
            "eventsTail": "[]",
            "config": self.runs[run].get("config") or "{}",
            "tags": [],
            # Without "t" W&B takes a run for one that was never initialised, and sends all its rows again.
            "wandbConfig": '{"t": 1}',
        }
        return {"model": {"id": "project", "name": "segloss", "entity": entity, "bucket": bucket}}

    def artifact(self, query: str, variables: dict[str, Any]) -> dict[str, Any] | None:
        """The answer to a query about an artifact; None to any other."""
        if "createArtifactManifest" in query or "updateArtifactManifest" in query:
            file = {"id": "file", "uploadUrl": f"{self.url}/put", "uploadHeaders": []}
            kind = "createArtifactManifest" if "createArtifactManifest" in query else "updateArtifactManifest"
            return {kind: {"artifactManifest": {"id": "manifest", "file": file}}}
        if "createArtifactFiles" in query:
            nodes = []
            for spec in variables["input"]["artifactFiles"]:
                name = spec["name"]
                self.artifacts[spec["artifactID"]]["files"].add(name)
                node = {"storagePath": name, "uploadUrl": f"{self.url}/put", "uploadHeaders": []}
                nodes.append({"node": {**node, "uploadMultipartUrls": None, "artifact": {"id": spec["artifactID"]}}})
            return {"createArtifactFiles": {"files": {"edges": nodes}}}
        if "createArtifact(" in query:
            entry, name = variables["input"], variables["input"]["artifactCollectionName"]
            self.artifacts[name] = {"type": entry["artifactTypeName"], "files": set(), "committed": False}
            sequence = {"latestArtifact": None}
            return {"createArtifact": {"artifact": {"id": name, "state": "PENDING", "artifactSequence": sequence}}}
        if "commitArtifact" in query:
            self.artifacts[variables["artifactID"]]["committed"] = True
            return {"commitArtifact": {"artifact": {"id": variables["artifactID"], "digest": "digest"}}}
        return None

    def stream(self, run: str, body: dict[str, Any]) -> None:
        """Rows of history and the summary as a run sends them."""
        files = body.get("files", {})
        history = files.get("wandb-history.jsonl", {})
        for place, line in enumerate(history.get("content", []), history.get("offset", 0)):
            self.lines.setdefault(run, {})[place] = json.loads(line)
            self.received += 1
        for line in files.get("wandb-summary.json", {}).get("content", []):
            self.summary.setdefault(run, {}).update(json.loads(line))
        if body.get("complete"):
            self.complete.add(run)


@contextmanager
def serving() -> Iterator[Server]:
    """A server on this machine."""
    server, closing = Server(), Event()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            server.requests += 1
            fault = server.fault if server.requests > server.faults_after else None
            if fault == "hang":
                closing.wait()
                return
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if fault == "fail":
                self.send_response(500)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            content: dict[str, Any] = {}
            if self.path.startswith("/graphql"):
                request = json.loads(body)
                content = {"data": server.graphql(request["query"], request.get("variables") or {})}
            elif self.path.endswith("/file_stream"):
                server.stream(self.path.split("/")[-2], json.loads(body))
            data = json.dumps(content).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data) + (fault == "drop")))
            self.end_headers()
            self.wfile.write(data)
            self.close_connection = fault == "drop"

        do_GET = do_POST = do_PUT = answer

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """Ignore clients that have disconnected."""

    http = Quiet(("127.0.0.1", 0), Handler)
    server.url = f"http://127.0.0.1:{http.server_port}"
    Thread(target=http.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        closing.set()
        http.shutdown()
        http.server_close()
