# SPDX-License-Identifier: GPL-2.0-or-later
"""Logging in to a host as the user's ssh would: its configuration, its known_hosts, and a real SSH server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import paramiko
import pytest
from lab_server import USER, LabServer, log_in, login

from guestloop.cache import Cache
from guestloop.ground.errors import ConfigError, LabError, LinkLost
from guestloop.images.keys import L1Keys, obtain_keys
from guestloop.remote.address import Address, Where, parse_address, parse_where
from guestloop.remote.ssh import Login, connect, find_login
from guestloop.remote.ssh.known import find_identity

# --- addresses ---


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("lab", Address("lab")),
        ("me@lab.example.org", Address("lab.example.org", "me")),
        ("me@lab:2222", Address("lab", "me", 2222)),
        ("[fe80::1]", Address("fe80::1")),
        ("me@[fe80::1]:22", Address("fe80::1", "me", 22)),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    assert parse_address("--host", text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    "text", ["", "@lab", "me@", "lab:", "lab:x", "lab:0", "lab:65536", "-oProxyCommand=x"]
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ConfigError, match="--host"):
        parse_address("--host", text)


def test_where_things_are_kept() -> None:
    assert parse_where(None, None) is None
    assert parse_where("lab", "/srv/guestloop/") == Where(Address("lab"), "/srv/guestloop")
    with pytest.raises(ConfigError, match="of which host"):
        parse_where(None, "/srv")
    with pytest.raises(ConfigError, match="a whole path was wanted"):
        parse_where("lab", "~/guestloop")


# --- configuration ---


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    return tmp_path


def found(home: Path, config: str, address: str = "lab", **files: str) -> Login:
    """The login for an address with these files of configuration."""
    for name, text in {"config": config, **files}.items():
        (home / ".ssh" / name).write_text(text)
    return find_login(parse_address("--host", address), system=home / "etc")


def test_without_a_configuration(home: Path) -> None:
    login = find_login(Address("lab", "me", 2222), system=home / "etc")
    assert (login.machine, login.port, login.user) == ("lab", 2222, "me")
    assert login.known_as == ("[lab]:2222", "lab")
    assert login.known_hosts[0] == home / ".ssh/known_hosts"
    assert login.known_hosts[2] == home / "etc/ssh_known_hosts"
    assert login.agent and not login.only_these and not login.jumps and not login.proxy


def test_what_a_host_of_the_configuration_has(home: Path) -> None:
    login = found(
        home,
        "Host lab\n HostName 10.0.0.7\n Port 2200\n User root\n IdentityFile ~/.ssh/lab_key\n"
        " IdentitiesOnly yes\n HostKeyAlias lab-key\n UserKnownHostsFile ~/.ssh/lab_hosts /etc/more\n"
        " ProxyJump me@gate:22,inner\n ConnectTimeout 7\n IdentityAgent none\n",
    )
    assert (login.machine, login.port, login.user) == ("10.0.0.7", 2200, "root")
    assert login.identities == (home / ".ssh/lab_key",) and login.only_these and not login.agent
    assert login.known_as == ("lab-key",)
    assert login.known_hosts[:2] == (home / ".ssh/lab_hosts", Path("/etc/more"))
    assert login.jumps == (Address("gate", "me", 22), Address("inner"))
    assert login.timeout_s == 7


def test_the_command_line_goes_before_the_configuration(home: Path) -> None:
    login = found(home, "Host lab\n User root\n Port 2200\n ProxyCommand nc %h %p\n", "me@lab:22")
    assert (login.user, login.port) == ("me", 22)
    assert login.proxy == "nc lab 22"


def test_included_files(home: Path) -> None:
    login = found(
        home,
        "Include more.* ~/.ssh/none\nUser everybody\nHost lab\n Include inside\n Port 5\nHost x\n Port 6\n",
        **{"more.1": "Host lab\n HostName ten\nHost other\n User no\n", "inside": "ConnectTimeout 3\n"},
    )
    assert (login.machine, login.port, login.user, login.timeout_s) == ("ten", 5, "everybody", 3)


def test_a_file_that_includes_itself(home: Path) -> None:
    assert found(home, "Include config\nPort 7\n").port == 7


def test_the_configuration_of_the_system_comes_last(home: Path) -> None:
    (home / "etc").mkdir()
    (home / "etc/ssh_config").write_text("Port 9\nUser system\n")
    login = found(home, "Host lab\nUser own\n")
    assert (login.user, login.port) == ("own", 9)


def test_what_is_matched(home: Path) -> None:
    login = found(home, "Match host lab,ten user me\n Port 7\nMatch all\n User all\n", "me@lab")
    assert (login.port, login.user) == (7, "me")


@pytest.mark.parametrize(
    "match", ["localnetwork 10.0.0.0/8", "host lab exec true", "!tagged x all", "Exec x"]
)
def test_a_match_that_cannot_be_decided_is_refused(home: Path, match: str) -> None:
    """paramiko would take one that it does not know for one of every host."""
    with pytest.raises(ConfigError, match=r"config: Match .*: of Match only all, canonical, "):
        found(home, f"Match {match}\n User x\n")


@pytest.mark.parametrize("config", ["nonsense\n", "Port x\n", "CanonicalizeHostname yes\n"])
def test_a_configuration_that_cannot_be_used(home: Path, config: str) -> None:
    with pytest.raises(ConfigError, match="--host lab: the configuration of ssh cannot be used"):
        found(home, config)


# --- known hosts ---


@pytest.fixture(scope="module")
def keys(cache: Cache) -> L1Keys:
    return obtain_keys(cache)


@pytest.fixture(scope="module")
def other_key() -> paramiko.PKey:
    return paramiko.ECDSAKey.generate()


def line(key: paramiko.PKey) -> str:
    return f"{key.get_name()} {key.get_base64()}"


def test_lines_of_known_hosts(tmp_path: Path, keys: L1Keys, other_key: paramiko.PKey) -> None:
    hashed = paramiko.HostKeys.hash_host("hashed")
    known = tmp_path / "known_hosts"
    known.write_text(
        "# a comment\n\nnonsense\n@cert-authority *.lab ssh-ed25519 AAAA\nlab ssh-ed25519 !!!\n"
        f"lab,10.0.0.7 {keys.host.public} comment\n{hashed}  {line(other_key)}\nlab {line(other_key)}\n"
        f"@revoked * {line(other_key)}\n"
    )
    files = [known, tmp_path / "gone", Path("relative")]
    assert [key.get_name() for key in find_identity("lab", files, ["lab"]).keys] == [
        "ssh-ed25519",
        "ecdsa-sha2-nistp256",
    ]
    assert len(find_identity("lab", files, ["[10.0.0.7]:22", "10.0.0.7"]).keys) == 1
    assert find_identity("lab", files, ["hashed"]).keys == (other_key,)
    assert find_identity("lab", files, ["unknown"]).keys == ()
    assert find_identity("lab", files, ["unknown"]).revoked == (other_key,)


# --- connections ---


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, keys: L1Keys) -> Iterator[LabServer]:
    made = LabServer(tmp_path_factory.mktemp("home"), keys)
    yield made
    made.close()


def refused(login: Login) -> LabError:
    with pytest.raises(LabError) as caught:
        connect(login.address, lambda _address: login)
    return caught.value


def test_commands(server: LabServer, tmp_path: Path) -> None:
    said: list[str] = []
    connection = log_in(server, tmp_path)
    with connection.start("cat; echo done >&2; exit 7", said.append) as running:
        running.write(b"x" * 300_000)
        running.end_input()
        assert b"".join(iter(lambda: running.read(65536), b"")) == b"x" * 300_000
        assert running.status() == 7
    assert said == ["done"]
    connection.close()
    with (
        pytest.raises(LinkLost, match="lab@lab: the connection is lost"),
        connection.start("true", said.append),
    ):
        pass


def test_a_host_whose_key_is_not_known(server: LabServer, tmp_path: Path) -> None:
    known = login(server, tmp_path)
    known.known_hosts[0].unlink()
    error = refused(known)
    shown = server.host_key.fingerprint
    assert str(error) == f"lab@lab: its host key is not known: ssh-ed25519 {shown}"
    assert "compare the key and accept it: ssh lab@lab" in error.hint


def test_a_host_whose_key_has_changed(server: LabServer, tmp_path: Path, other_key: paramiko.PKey) -> None:
    known = login(server, tmp_path)
    known.known_hosts[0].write_text(f"{known.known_as[0]} {line(other_key)}\n")
    error = refused(known)
    assert "its host key is ssh-ed25519" in str(error)
    assert f"known_hosts has ecdsa-sha2-nistp256 {other_key.fingerprint}" in str(error)
    assert "ssh-keygen -R" in error.hint


def test_one_of_several_known_keys_is_enough(
    server: LabServer, tmp_path: Path, other_key: paramiko.PKey
) -> None:
    known = login(server, tmp_path)
    with known.known_hosts[0].open("a") as file:
        file.write(f"{known.known_as[0]} {line(other_key)}\n")
    connect(known.address, lambda _address: known).close()


def test_a_revoked_key(server: LabServer, tmp_path: Path) -> None:
    known = login(server, tmp_path)
    with known.known_hosts[0].open("a") as file:
        file.write(f"@revoked * {server.keys.host.public}\n")
    assert "its host key is revoked" in str(refused(known))


def test_a_host_that_lets_nobody_in(server: LabServer, tmp_path: Path, keys: L1Keys) -> None:
    known = login(server, tmp_path)
    for identities in ((), (keys.host.private,), (tmp_path / "gone",)):
        error = refused(replace(known, identities=identities))
        assert str(error) == "lab@lab: cannot log in: none of the keys is accepted"
        assert error.hint.startswith("ssh-copy-id lab@lab; ")


def test_a_key_with_a_passphrase(server: LabServer, tmp_path: Path, other_key: paramiko.PKey) -> None:
    locked = tmp_path / "locked"
    other_key.write_private_key_file(str(locked), password="secret")
    error = refused(replace(login(server, tmp_path), identities=(locked,)))
    assert "a key with a passphrase has to be in the agent: ssh-add" in error.hint


def test_a_host_that_does_not_answer(server: LabServer, tmp_path: Path, keys: L1Keys) -> None:
    gone = LabServer(tmp_path, keys)
    gone.close()
    error = refused(login(gone, tmp_path))
    assert isinstance(error, LinkLost)
    assert str(error).startswith("lab@lab: no connection by ssh:")


def test_a_proxy_command(server: LabServer, tmp_path: Path) -> None:
    reach = f"bash -c 'exec 3<>/dev/tcp/127.0.0.1/{server.port}; cat <&3 & cat >&3'"
    known = replace(login(server, tmp_path), proxy=reach)
    connection = connect(known.address, lambda _address: known)
    with connection.start("echo here", lambda _line: None) as running:
        assert running.read(100) == b"here\n"
        assert running.status() == 0
    connection.close()


def test_a_host_behind_another_one(server: LabServer, tmp_path: Path, keys: L1Keys) -> None:
    gate = LabServer(tmp_path, keys)
    gate.passes_on = True
    (tmp_path / "gate").mkdir()
    logins = {
        "lab": replace(login(server, tmp_path), jumps=(Address("gate"),)),
        "gate": replace(login(gate, tmp_path / "gate"), address=Address("gate")),
    }
    connection = connect(Address("lab", USER), lambda address: logins[address.host])
    with connection.start("echo behind", lambda _line: None) as running:
        assert running.read(100) == b"behind\n"
    connection.close()
    gate.passes_on = False
    with pytest.raises(LinkLost, match="lab@lab: not reached by way of gate"):
        connect(Address("lab", USER), lambda address: logins[address.host])
    gate.close()
