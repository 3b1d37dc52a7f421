# SPDX-License-Identifier: GPL-2.0-or-later
"""``scripts/run --host USER@LAB``: the same run on another machine, through ssh.

::

    here                                       there, below ~/.guestloop or --host-dir
    ----                                       ---------------------------------------
    address, ssh/   where it is, and whether it is that host
    checkout        this checkout          ->  checkouts/N/guestloop, digest, lock
    baggage, trees  what the words name    ->  runs/ID/request.json, files/, settings/
    shipping        entries by their keys  ->  the cache
                                               runs/ID/attempts/N: lock, begun, stdout, log, status
    journey         what it prints         <-  attempts/N/stdout and log
    fetch           OUT                    <-  runs/ID/out

**Nothing depends on the connection.** A run there has a session of its own and writes into files. Each step
from here can be done again: it finds what an earlier one has left, and goes on from there. So after a lost
connection ``journey`` begins with the first step, and so does the next command that picks the run up.
``OUT/remote.json`` (record.py) says which run it is. It is written before the run begins there.

**Nothing is taken for whole that is not.** What is copied has another name until all of it is there and its
SHA-256 is right: the checkout, the files of a run, an entry of a cache, each file of the results.

**Words are resolved here.** Names of kernels and profiles, paths and revisions mean what they mean on this
machine. What they stand for is copied, and the words are written anew. Packages (``deb:``) are the host's.

**The host asks for what it lacks.** The keys of entries depend on its compiler and its package sources, so it
looks for what the run will take from the cache (there/prime.py), and asks for each entry that it does not
find. What neither has is built there.

**The far end is this same package**: ``scripts/there`` starts it for one operation, which speaks over its
stdin and stdout (wire.py). Only the checkout itself comes by a few lines of sh.
"""
