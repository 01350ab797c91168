"""Token files are private, and what counts as loopback."""

import socket
from concurrent import futures
from pathlib import Path

import grpc
import pytest

from fcos.errors import ConfigError
from orchestration.cluster import authentication
from orchestration.cluster.authentication import check_cluster, is_loopback, make_private, requires_token
from orchestration.cluster.ray_token import token_file


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o666, 0o777])
def test_a_token_file_that_others_read_is_made_private(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "auth_token"
    path.write_text("secret-of-mine")
    path.chmod(mode)
    note = make_private(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert note is not None and f"{mode:03o}" in note and "secret-of-mine" not in note


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_private_token_file_stays_as_it_is(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "auth_token"
    path.touch()
    path.chmod(mode)
    assert make_private(path) is None
    assert path.stat().st_mode & 0o777 == mode


def test_a_token_file_that_cannot_be_made_private_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "auth_token"
    path.touch(mode=0o644)

    def refuse(self: Path, mode: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "chmod", refuse)
    with pytest.raises(ConfigError, match=rf"{path}: others can read this token \(mode 644\); it must have mode 600"):
        make_private(path)


def test_the_file_that_ray_takes_the_token_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    assert token_file() is None
    usual = tmp_path / ".ray" / "auth_token"
    usual.parent.mkdir()
    usual.touch()
    assert token_file() == usual
    named = tmp_path / "named"
    named.touch()
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(named))
    assert token_file() == named
    monkeypatch.setenv("RAY_AUTH_TOKEN", "in the environment")
    assert token_file() is None


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.0.2.7", False),
        ("10.0.0.1", False),
        ("no-such-host.invalid", False),
    ],
)
def test_what_is_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_a_server_that_is_not_a_ray_cluster_is_refused() -> None:
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with pytest.raises(
            ConfigError, match=rf"cluster.address=127.0.0.1:{port}: Ray cannot be reached: UNIMPLEMENTED"
        ):
            requires_token(f"127.0.0.1:{port}")
    finally:
        server.stop(None)


def test_a_port_with_another_protocol_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestration.cluster.authentication.RPC_SECONDS", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(ConfigError, match=f"cluster.address={address}: Ray cannot be reached: "):
            requires_token(address)


def test_a_tunnel_to_a_head_elsewhere_is_refused_with_what_ray_makes_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as tunnel:
        port = tunnel.getsockname()[1]
        # As Ray does with the machine's address.
        monkeypatch.setattr(authentication, "resolve_address", lambda address: f"127.0.0.2:{port}")
        taken = rf"cluster\.address=localhost:{port}: Ray takes this for 127\.0\.0\.2:{port} of this machine"
        message = f"{taken}, where nothing listens; .*tunnel"
        with pytest.raises(ConfigError, match=message):
            check_cluster(f"localhost:{port}", allow_unauthenticated=False)


@pytest.mark.parametrize("appears", [True, False])
def test_a_machine_that_is_no_node_of_the_cluster_is_refused(monkeypatch: pytest.MonkeyPatch, appears: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as head:
        address = f"127.0.0.1:{head.getsockname()[1]}"
        found = iter([False, appears, appears])
        monkeypatch.setattr(authentication, "NODE_SECONDS", 60.0 if appears else 0.0)
        monkeypatch.setattr(authentication, "resolve_address", lambda address: address)
        monkeypatch.setattr(authentication, "requires_token", lambda gcs: False)
        monkeypatch.setattr(authentication, "reachable_addresses", lambda gcs: [])
        monkeypatch.setattr(authentication, "has_local_node", lambda: next(found))
        if appears:
            assert check_cluster(address, allow_unauthenticated=False) == address
            return
        message = rf"cluster\.address={address}: no node of that cluster runs on this machine; .*ray job submit"
        with pytest.raises(ConfigError, match=message):
            check_cluster(address, allow_unauthenticated=False)
