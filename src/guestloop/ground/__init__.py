# SPDX-License-Identifier: GPL-2.0-or-later
"""What every other package stands on; carried into L1 too, so the standard library and qemu.qmp only."""
