"""Tracking servers that lose an answer, let in one of several commands at a time, or run another MLflow."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from mlflow.exceptions import MlflowException
from mlflow.version import VERSION

from orchestration.config.compose import compose
from orchestration.config.overrides import check_overrides
from orchestration.doctor import _check_store
from orchestration.tracking import experiments
from orchestration.tracking.problems import StoreUnavailable, TrackingError
from orchestration.tracking.store import RETRIES, open_store
from orchestration.tracking.tracker import Tracker
from tests.helpers.processes.waiting import PATIENCE

EXPERIMENT = {
    "experiment": {
        "experiment_id": "1",
        "name": "lab",
        "artifact_location": "mlflow-artifacts:/1",
        "lifecycle_stage": "active",
    }
}
ABSENT = (404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no experiment lab"})
EXISTS = (400, {"error_code": "RESOURCE_ALREADY_EXISTS", "message": "Experiment(name=lab) already exists"})
BROKEN = (400, {"error_code": "BAD_REQUEST", "message": "duplicate key value violates unique constraint"})
FORBIDDEN = (403, "Permission denied")
UNKNOWN_USER = (401, "You are not authenticated. Please see https://www.mlflow.org/docs/latest/auth/index.html")
# Of a call that the server executes and does not answer.
LOST = (0, "")
Answer = tuple[int, Any]


@dataclass
class Server:
    """A server that gives some answers to the calls of a route, one after another, and then those of MLflow."""

    uri: str = ""
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)

    def answer(self, route: str) -> Answer:
        self.calls.append(route)
        if self.answers.get(route):
            return self.answers[route].pop(0)
        usual: dict[str, Answer] = {"get-by-name": (200, EXPERIMENT), "version": (200, VERSION)}
        return usual.get(route, (200, {}))


@contextmanager
def served(server: Server) -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self._respond()

        do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815

        def log_message(self, *args: object) -> None:
            """Nothing."""

        def _respond(self) -> None:
            code, content = server.answer(self.path.partition("?")[0].rpartition("/")[2])
            if not code:
                return
            body = (content if isinstance(content, str) else json.dumps(content)).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with HTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        server.uri = f"http://127.0.0.1:{listening.server_port}"
        try:
            yield server
        finally:
            listening.shutdown()
            thread.join()


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Server]]:
    """Starts a server that gives some answers first, by the last part of a route."""
    monkeypatch.setattr(experiments, "PAUSES", (0.0, 0.0, 0.0))
    monkeypatch.setenv(RETRIES, "0")
    started: list[Any] = []

    def make(**answers: list[Answer]) -> Server:
        by_route = {route.replace("_", "-"): each for route, each in answers.items()}
        started.append(served(Server(answers=by_route)))
        server: Server = started[-1].__enter__()
        return server

    yield make
    for each in started:
        each.__exit__(None, None, None)


@pytest.mark.parametrize("given", [None, "5"])
def test_a_call_whose_answer_is_lost_is_sent_once(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, given: str | None
) -> None:
    server = serve(create=[LOST, LOST])
    if given is None:
        monkeypatch.delenv(RETRIES)
    else:
        monkeypatch.setenv(RETRIES, given)
    store = open_store(server.uri, "lab", None)
    with pytest.raises(MlflowException, match="Remote end closed connection"):
        store.create("run", {})
    assert server.calls.count("create") == 1
    assert (f"{RETRIES}=5 has no effect" in caplog.text) is (given == "5")


def test_a_tag_is_removed_once_where_the_answer_was_lost(serve: Callable[..., Server]) -> None:
    run = {"run": {"info": {"run_id": "a", "experiment_id": "1", "status": "FINISHED"}, "data": {"tags": []}}}
    server = serve(get=[(200, run)])
    open_store(server.uri, "lab", None).delete_tag("a", "fcos.artifacts_missing")
    assert "delete-tag" not in server.calls


@pytest.mark.parametrize("refusal", [FORBIDDEN, BROKEN])
def test_a_first_command_is_let_in_once_another_one_has_made_the_experiment(
    serve: Callable[..., Server], refusal: Answer
) -> None:
    server = serve(get_by_name=[ABSENT, ABSENT], create=[EXISTS], set_experiment_tag=[refusal, refusal])
    assert open_store(server.uri, "lab", None).experiment_id == "1"
    assert server.calls.count("set-experiment-tag") == 3


def test_a_user_without_a_right_is_refused_after_some_attempts_with_the_way_out(serve: Callable[..., Server]) -> None:
    server = serve(set_experiment_tag=[FORBIDDEN] * 9)
    message = r"403.*'Permission denied'; give a tracking\.experiment of your own"
    with pytest.raises(TrackingError, match=message) as refused:
        open_store(server.uri, "lab", None)
    assert not isinstance(refused.value, StoreUnavailable)
    assert server.calls.count("set-experiment-tag") == len(experiments.PAUSES) + 1


def test_a_server_that_knows_no_user_names_the_variables(serve: Callable[..., Server]) -> None:
    server = serve(get_by_name=[UNKNOWN_USER] * 9)
    with pytest.raises(
        StoreUnavailable, match=r"401 .*; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or"
    ):
        open_store(server.uri, "lab", None)
    # Another attempt would be the same.
    assert server.calls == ["get-by-name"]


@pytest.mark.parametrize("stated", ["2.9.1", "3.9999.0", "4.0.0.dev0"])
def test_a_server_of_another_version_is_named_once_in_one_line(
    serve: Callable[..., Server], caplog: pytest.LogCaptureFixture, tmp_path: Path, stated: str
) -> None:
    server = serve(version=[(200, stated)])
    tracker = Tracker(server.uri, "lab", tmp_path, "sweep-1")
    tracker.wait_open()
    assert tracker.close(PATIENCE)
    line = f"tracking.uri={server.uri}: the server runs MLflow {stated}, this command {VERSION}"
    assert [line in message for message in caplog.messages] == [True]


@pytest.mark.parametrize("answer", [(200, VERSION), (200, "<html>log in</html>"), (404, "not found"), (0, "")])
def test_a_server_of_the_same_version_and_one_that_states_none_are_no_matter(
    serve: Callable[..., Server], caplog: pytest.LogCaptureFixture, answer: Answer
) -> None:
    store = open_store(serve(version=[answer]).uri, "lab", None)
    assert (store.version_note, caplog.messages) == (None, [])


def test_a_server_that_is_too_old_is_refused_with_both_versions(serve: Callable[..., Server]) -> None:
    server = serve(version=[(200, "1.30.1")])
    message = f"the server runs MLflow 1.30.1, and must run MLflow 2 or newer; run MLflow {VERSION} there"
    with pytest.raises(TrackingError, match=message):
        open_store(server.uri, "lab", None)


def test_the_doctor_names_another_version(serve: Callable[..., Server], tmp_path: Path) -> None:
    server = serve(version=[(200, "2.9.1")])
    words = [f"output={tmp_path}", "tracking=server", f"tracking.uri={server.uri}", "tracking.experiment=lab"]
    tracking = _check_store(compose(check_overrides(words)), 1)[0]
    assert (tracking.state, tracking.advice) == ("warning", "run the same MLflow on both")
    assert "the server runs MLflow 2.9.1" in tracking.finding
