"""How much is moved at once, and how patiently."""

from __future__ import annotations

import os

PART_BYTES = 8 << 20
"""A large file is fetched in parts of this size. S3's own advice is 8 to 16 MB:
https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance-guidelines.html"""

BATCH_BYTES = 256 << 10
"""What is handed from a connection to the hash at once."""

TRIES = 5
"""How often a part is asked for again when nothing more of it arrives."""

PROGRESS_BYTES = 64 << 10
"""A try that brought as much counts as progress, and the tries start anew."""

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 5.0


def connections() -> int:
    """How many parts are under way at once: two a core, four to eight.

    More connections do not help a machine whose cores are busy with the ones it has.
    """
    return min(8, max(4, 2 * (os.cpu_count() or 1)))
