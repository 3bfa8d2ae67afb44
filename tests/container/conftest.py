"""Before testcontainers is imported, which reads its environment then."""

import os

# Its reaper is one more image to pull; these tests stop what they have started themselves.
os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")
