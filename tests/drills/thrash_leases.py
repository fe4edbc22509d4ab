"""The crowd of `thrash` on a store without locks, where leases say who is there (tests/examples/lockless.rs). Half of the clients
are on other machines, as far as the rest can tell, so that who is killed there is waited for until his lease is over.

Proves: the same; and that nobody's clock is believed but the store's.
"""

import thrash
import tools

PROGRAMS = ["GARRET", "GARRET_LOCKLESS"]


def drill(options):
    return thrash.drill(options, tools.Lockless, "thrash, leases")
