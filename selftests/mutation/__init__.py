# SPDX-License-Identifier: GPL-2.0-or-later
"""Do the tests notice when the code is wrong? Mutants of the package, and the fast tests run on each.

``scripts/test --mutants`` runs this. A mutant is a copy of one file with one small change in it. It is
killed when a fast test fails; one that no test notices has survived.
"""
