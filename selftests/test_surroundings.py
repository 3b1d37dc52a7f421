# SPDX-License-Identifier: GPL-2.0-or-later
"""The user's surroundings: what is set, missing or closed around us decides nothing, and is survived."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from guestloop.ground import proc, surroundings

# Each changes what some program does: kbuild, make, git, the loader, shells, interpreters, compilers, tar.
NAMES = """
    ARCH CROSS_COMPILE LLVM CC HOSTCC LD KCFLAGS KAFLAGS KCPPFLAGS CFLAGS CPPFLAGS LDFLAGS KBUILD_EXTMOD
    KBUILD_OUTPUT KCONFIG_CONFIG KCONFIG_ALLCONFIG LOCALVERSION W C V O M INSTALL_MOD_PATH
    KBUILD_BUILD_USER SOURCE_DATE_EPOCH MAKEFLAGS MFLAGS MAKEFILES MAKELEVEL MAKEOVERRIDES GNUMAKEFLAGS
    GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE GIT_CONFIG_GLOBAL GIT_CONFIG_COUNT GIT_TRACE LD_PRELOAD
    LD_LIBRARY_PATH LD_AUDIT LD_DEBUG GCONV_PATH MALLOC_PERTURB_ CDPATH BASH_ENV ENV POSIXLY_CORRECT IFS
    SHELLOPTS BASHOPTS GREP_OPTIONS PYTHONPATH PYTHONHOME PYTHONSTARTUP PYTHONWARNINGS PYTHONINSPECT
    VIRTUAL_ENV PERL5LIB PERL5OPT PERL_UNICODE RUBYOPT GCC_EXEC_PREFIX COMPILER_PATH CPATH
    C_INCLUDE_PATH LIBRARY_PATH DEPENDENCIES_OUTPUT GCC_COLORS CCACHE_DIR CCACHE_PREFIX CCACHE_DISABLE
    CCACHE_RECACHE CCACHE_SLOPPINESS PKG_CONFIG_PATH MESON_TESTTHREADS TAR_OPTIONS TAPE XZ_OPT
    XZ_DEFAULTS GZIP BZIP2 ZSTD_CLEVEL ZIPOPT LANG LC_CTYPE LC_MESSAGES LANGUAGE TZ QUILT_PATCHES
    PATCH_GET VERSION_CONTROL APT_CONFIG DEBIAN_FRONTEND DPKG_ROOT DPKG_ADMINDIR QEMU_AUDIO_DRV COLUMNS
    LINES BASH_FUNC_gcc%% BASH_FUNC_cd%% EDITOR PAGER TMP TEMP SSH_AUTH_SOCK GPG_AGENT_INFO
"""
FOREIGN = dict.fromkeys(NAMES.split(), "/foreign")


def environment_of(**options: bool) -> dict[str, str]:
    """What a command sees."""
    text = proc.read(["env", "-0"]).text if not options else proc.run(["env", "-0"], bare=True).output
    return dict(line.split("=", 1) for line in text.split("\0") if line)


def test_what_a_program_sees_is_listed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    known = {"HOME": "/home/me", "USER": "me", "TERM": "dumb", "https_proxy": "http://p:1", "PIP_CERT": "/c"}
    monkeypatch.setattr(os, "environ", {**FOREIGN, **known, "PATH": "/usr/bin", "TMPDIR": str(tmp_path)})
    both = {"PATH": surroundings.search_path(), "TMPDIR": str(tmp_path), "LC_ALL": "C.UTF-8"}
    assert environment_of() == known | both
    assert environment_of(bare=True) == both | {"HOME": "/nonexistent"}


def test_an_empty_environment_has_what_programs_need(monkeypatch: pytest.MonkeyPatch) -> None:
    bare = {"PATH": ":".join(surroundings.SYSTEM_PATH), "HOME": "/nonexistent", "LC_ALL": "C.UTF-8"}
    assert surroundings.bare({}) == bare
    monkeypatch.delenv("HOME")
    own = pwd.getpwuid(os.getuid()).pw_dir
    assert surroundings.inherited({}) == bare | {"HOME": own}, "as cron starts it"
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    assert surroundings.inherited({}) == bare, "a user whom this machine does not know"


@pytest.mark.parametrize("path", ["", ".", "relative/bin", ":/usr/bin", "/usr/bin:", ".:/usr/bin:bin"])
def test_no_program_is_taken_from_the_current_directory(path: str) -> None:
    """make runs in a source tree: a patch could bring a gcc."""
    found = surroundings.search_path({"PATH": path}).split(":")
    assert sorted(found) == sorted(surroundings.SYSTEM_PATH)


def test_own_directories_of_programs_come_first() -> None:
    found = surroundings.search_path({"PATH": "/opt/gcc-14/bin:/usr/bin:/opt/gcc-14/bin"}).split(":")
    assert found[:2] == ["/opt/gcc-14/bin", "/usr/bin"] and "/usr/sbin" in found
    assert len(found) == len(set(found)) == len(surroundings.SYSTEM_PATH) + 1


@pytest.mark.parametrize("name", ["gone", "file", "relative"])
def test_a_directory_for_temporary_files_that_is_none(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    given = {"TMPDIR": name if name == "relative" else str(tmp_path / name)}
    assert "TMPDIR" not in surroundings.bare(given) and "TMPDIR" not in surroundings.inherited(given)
