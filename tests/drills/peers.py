"""borg and restic, as the distribution has them, through what is no question of garret's own format: `power`, `kill_random`,
`full` and `rot`. Their figures stand beside ours; what they get wrong is no failure of this drill.
"""

import full
import kill_random
import power
import rot
import tools

NEED = power.NEED | full.NEED | {"borg": "borgbackup", "restic": "restic"}
# Of garret's counts.
SCALE = 0.04


def drill(options):
    for tool in (tools.Borg, tools.Restic):
        for one in (power, kill_random, full, rot):
            for figures in one.drill(options, tool, SCALE):
                figures.is_peer = True
                yield figures
