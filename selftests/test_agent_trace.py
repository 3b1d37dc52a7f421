# SPDX-License-Identifier: GPL-2.0-or-later
"""What the agent tells tracefs, on files that stand in for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from guestloop.agent import trace
from guestloop.agent.trace import (
    KVM_EVENTS,
    LOG_DEFINITION,
    LOG_PROBE,
    MSR_TRIGGER,
    PROBE,
    ROOT_DEFINITION,
    ROOT_PROBE,
    WAIT_DEFINITION,
    WAIT_PROBE,
    YOUNG_DEFINITION,
    YOUNG_PROBE,
    Trace,
    Tracing,
)
from guestloop.ground.errors import GuestError

FUNCTIONS = ("kvm_flush_remote_tlbs", "kvm_make_all_cpus_request")
COUNT = "hist:keys=common_cpu"
STACK = "hist:keys=common_stacktrace,req:size=8192"


def add_event(tracefs: Path, event: str) -> None:
    (tracefs / "events" / event).mkdir(parents=True)
    (tracefs / "events" / event / "trigger").write_text("")
    (tracefs / "events" / event / "hist").write_text(f"# histogram of {event}\n")


@pytest.fixture
def tracefs(tmp_path: Path) -> Path:
    for event in (PROBE, "kvm/kvm_async_pf_ready", "kvm/kvm_age_hva"):
        add_event(tmp_path, event)
    (tmp_path / "kprobe_events").write_text("")
    return tmp_path


def written(tracefs: Path, file: str) -> list[str]:
    return (tracefs / file).read_text().splitlines()


def test_arm_and_disarm(tracefs: Path) -> None:
    counting = Trace(tracefs)
    assert counting.arm(FUNCTIONS) == ["kvm_async_pf_ready", "kvm_age_hva"], "only what this kernel has"
    assert written(tracefs, "kprobe_events") == [
        "p:guestloop/request kvm:kvm_make_all_cpus_request+4 req=%si:u32",
        LOG_DEFINITION,
        WAIT_DEFINITION,
        ROOT_DEFINITION,
        YOUNG_DEFINITION,
    ]
    assert written(tracefs, f"events/{PROBE}/trigger") == [STACK]
    assert Tracing(counting).read() == {
        "request": f"# histogram of {PROBE}\n",
        "kvm_async_pf_ready": "# histogram of kvm/kvm_async_pf_ready\n",
        "kvm_age_hva": "# histogram of kvm/kvm_age_hva\n",
    }
    counting.disarm()
    assert written(tracefs, f"events/{PROBE}/trigger") == [STACK, f"!{STACK}"]
    assert written(tracefs, "events/kvm/kvm_age_hva/trigger")[1] == f"!{COUNT}"
    assert written(tracefs, "kprobe_events")[5:] == [f"-:{PROBE}"]
    assert counting.read() == {}


def test_a_kernel_that_has_everything(tracefs: Path) -> None:
    for event in (
        LOG_PROBE,
        WAIT_PROBE,
        ROOT_PROBE,
        YOUNG_PROBE,
        "kvm/kvm_msr",
        *(f"kvm/{event}" for event in KVM_EVENTS),
    ):
        if not (tracefs / "events" / event).exists():
            add_event(tracefs, event)
    counting = Trace(tracefs)
    assert sorted(counting.arm(FUNCTIONS)) == sorted(KVM_EVENTS)
    further = {"log_sync", "swap_wait", "root_load", "young"}
    assert counting.read().keys() == {"request", *further, "kvm_msr", *KVM_EVENTS}
    assert written(tracefs, "events/kvm/kvm_msr/trigger") == [MSR_TRIGGER]
    assert written(tracefs, f"events/{LOG_PROBE}/trigger") == [COUNT]
    assert written(tracefs, f"events/{WAIT_PROBE}/trigger") == [f"{COUNT} if waits==1"]
    assert written(tracefs, f"events/{ROOT_PROBE}/trigger") == [COUNT]
    assert written(tracefs, f"events/{YOUNG_PROBE}/trigger") == [f"{COUNT} if young!=0"]
    assert written(tracefs, "events/kvm/kvm_async_pf_ready/trigger") == [COUNT], "armed once"
    counting.disarm()
    assert written(tracefs, "kprobe_events")[5:] == [
        f"-:{probe}" for probe in (PROBE, LOG_PROBE, WAIT_PROBE, ROOT_PROBE, YOUNG_PROBE)
    ]


def test_disarm_when_kvm_is_gone_already(tracefs: Path) -> None:
    counting = Trace(tracefs)
    counting.arm(FUNCTIONS)
    (tracefs / "events/kvm/kvm_age_hva/trigger").unlink()
    counting.disarm()
    assert written(tracefs, "kprobe_events")[5:] == [f"-:{PROBE}"]


def refusing(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    """Have the kernel refuse what contains one of these."""
    write = trace.write_control

    def refuse(path: Path, text: str) -> None:
        if any(word in text for word in words):
            raise GuestError(f"tracefs refused {text!r}")
        write(path, text)

    monkeypatch.setattr(trace, "write_control", refuse)


def test_the_probe_sits_at_the_entry_where_no_instruction_begins_behind_it(
    tracefs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing(monkeypatch, "+4")
    Trace(tracefs).arm(FUNCTIONS)
    probe = "p:guestloop/request kvm:kvm_make_all_cpus_request req=%si:u32"
    assert written(tracefs, "kprobe_events")[0] == probe


def test_up_to_6_9_the_probe_sits_where_the_wrapper_leads_to(tracefs: Path) -> None:
    Trace(tracefs).arm(("kvm_make_all_cpus_request_except", *FUNCTIONS))
    probe = "p:guestloop/request kvm:kvm_make_all_cpus_request_except+4 req=%si:u32"
    assert written(tracefs, "kprobe_events")[0] == probe


def test_before_6_3_the_stack_has_another_name(tracefs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refusing(monkeypatch, "common_stacktrace")
    counting = Trace(tracefs)
    counting.arm(FUNCTIONS)
    old = STACK.replace("common_stacktrace", "stacktrace")
    assert written(tracefs, f"events/{PROBE}/trigger") == [old]
    counting.disarm()
    assert written(tracefs, f"events/{PROBE}/trigger") == [old, f"!{old}"]


def test_a_kernel_that_counts_no_stacks_is_told_with_both_keys(
    tracefs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing(monkeypatch, "stacktrace")
    with pytest.raises(
        GuestError, match=r"keys=common_stacktrace,.*; tracefs refused 'hist:keys=stacktrace,"
    ):
        Trace(tracefs).arm(FUNCTIONS)


def test_without_a_function_that_is_known_nothing_is_counted(tracefs: Path) -> None:
    wanted = "neither kvm_make_all_cpus_request_except nor kvm_make_all_cpus_request in KVM"
    with pytest.raises(GuestError, match=wanted):
        Trace(tracefs).arm(("kvm_flush_remote_tlbs",))
    assert written(tracefs, "kprobe_events") == []


def test_without_the_probe_nothing_is_counted(tracefs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refusing(monkeypatch, "kvm_make_all_cpus_request")
    with pytest.raises(GuestError, match=r"refused 'p:guestloop/request kvm:kvm_make_all_cpus_request req="):
        Trace(tracefs).arm(FUNCTIONS)


def test_a_kernel_without_the_functions_of_further_probes_counts_the_rest(
    tracefs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing(monkeypatch, LOG_DEFINITION, WAIT_DEFINITION, ROOT_DEFINITION, YOUNG_DEFINITION)
    assert Trace(tracefs).arm(FUNCTIONS) == ["kvm_async_pf_ready", "kvm_age_hva"]


def test_a_refusal_names_text_and_file() -> None:
    with pytest.raises(GuestError, match=r"tracefs refused 'p:x' in full: No space left on device"):
        trace.write_control(Path("/dev/full"), "p:x")
