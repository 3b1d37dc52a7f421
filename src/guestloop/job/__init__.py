# SPDX-License-Identifier: GPL-2.0-or-later
"""A run: build what is missing, measure as an Avocado job, compare, report."""

import os
import sys
import warnings

# Avocado 113 imports pkg_resources, which announces its own end at every start; the range of
# setuptools in pyproject.toml is the answer to that, and users can do nothing about it.
warnings.filterwarnings("ignore", message="pkg_resources is deprecated")

# Avocado takes its settings from below this directory when it is imported. Else it would take those in /etc
# and the user's own, which would then decide how rounds are run, and make directories in the user's home.
os.environ["VIRTUAL_ENV"] = sys.prefix
