"""A server that takes what W&B uploads, as far as its own does: one run by `wandb sync`, and reports."""

import gzip
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


class Server(ThreadingHTTPServer):
    """Keeps id, rows and summary of a run, and the reports."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.run: str | None = None
        self.history: list[str] = []
        self.summary = "{}"
        self.reports: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.history]

    def answer(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        """Answer a GraphQL query."""
        run = {"id": "QnVja2V0", "name": self.run, "displayName": self.run, "historyLineCount": len(self.history)}
        project = {"id": "P", "name": "p", "entity": {"id": "E", "name": "e"}}
        if "mutation UpsertBucket" in query:
            self.run = self.run or variables["name"]
            return {
                "data": {"upsertBucket": {"bucket": run | {"name": self.run, "project": project}, "inserted": True}}
            }
        if "query RunResumeStatus" in query:
            counts = {"logLineCount": 0, "eventsLineCount": 0, "eventsTail": "[]"}
            last = {"historyTail": json.dumps(self.history[-1:]), "summaryMetrics": self.summary}
            known = run | counts | last | {"config": "{}", "tags": [], "wandbConfig": '{"t": 1}'}
            return {"data": {"model": {**project, "bucket": known if self.run else None}}}
        if "query Viewer" in query or "query GetDefaultEntity" in query:
            return {
                "data": {"viewer": {"id": "V", "entity": "e", "username": "u", "flags": "{}", "teams": {"edges": []}}}
            }
        if "query ProjectInternalId" in query:
            return {"data": {"project": {"id": "P", "internalId": "UDpwOmU="}}}
        if "query GetProjects" in query:
            return {"data": {"models": {"edges": [], "pageInfo": {"endCursor": None, "hasNextPage": False}}}}
        if "mutation CreateProject" in query:
            created = {
                "id": "P",
                "name": variables["input"]["name"],
                "entityName": "e",
                "description": "",
                "views": "{}",
            }
            return {"data": {"result": {"project": created, "model": created, "inserted": True}}}
        if "mutation upsertView" in query:
            self.reports.append(variables)
            view = {"id": "VIEW", "name": "n", "spec": variables["spec"], "project": project | {"entityName": "e"}}
            return {"data": {"upsertView": {"view": view, "inserted": True}}}
        return {"errors": [{"message": "unknown query"}]}

    def store(self, files: dict[str, Any]) -> None:
        """Store lines at their offset, as a file stream does."""
        if rows := files.get("wandb-history.jsonl"):
            self.history[rows["offset"] : rows["offset"] + len(rows["content"])] = rows["content"]
        if summary := files.get("wandb-summary.json"):
            self.summary = summary["content"][0]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        answer: dict[str, Any] = {}
        if self.path.endswith("/graphql"):
            content = json.loads(body)
            answer = self.server.answer(content["query"], content.get("variables") or {})
        elif self.path.endswith("/file_stream"):
            self.server.store(json.loads(body).get("files") or {})
        self.reply(answer)

    def do_GET(self) -> None:
        self.reply({})

    def reply(self, content: dict[str, Any]) -> None:
        data = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def wandb_server() -> Iterator[Server]:
    """Run the server in a thread."""
    with Server() as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
