# SPDX-License-Identifier: GPL-2.0-or-later
"""The statistical model (pure, of numbers only): whether two samples of counts have one rate.

``samples`` are counts with what they are divided by, and how widely they scatter. ``inference`` tests and
estimates, on ``distributions``. ``judge`` is the one function that decides: more, fewer, the same, or open.
docs/method-judging.md explains all of it.
"""
