# SPDX-License-Identifier: GPL-2.0-or-later
"""A run: build what is missing, measure as an Avocado job, compare, report."""

import warnings

# Avocado 113 imports pkg_resources, which announces its own end at every start; the range of
# setuptools in pyproject.toml is the answer to that, and users can do nothing about it.
warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
