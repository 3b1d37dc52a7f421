# SPDX-License-Identifier: GPL-2.0-or-later
"""The far end of ``scripts/run --host``: one operation on a run, which is asked for over stdin and stdout.

::

    lay                 take over what a run needs; nothing is done if it is there
    prime RUN           ask for the entries of the cache that the run will look for
    begin RUN N         begin attempt N, unless it has begun
    follow RUN N        pass on what it prints until it ends
    interrupt RUN N     end it as by Ctrl-C
    results RUN         what is in its directory of results
    send RUN            some files of them

An operation that was cut off, or is asked for by two clients at once, can be asked for again.
"""
