# SPDX-License-Identifier: GPL-2.0-or-later
"""guestloop: what does a KVM/x86 MMU patch do to correctness and to remote TLB flushes?"""

__version__ = "0.1.0"
