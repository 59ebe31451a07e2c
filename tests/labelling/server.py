"""A server in a process of its own, which can be killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SERVER = """
import sys
from pathlib import Path
from trimtab.labelling.dashboard import Dashboard
from trimtab.labelling.store import Store
from trimtab.labelling.web.serve import listen, serve
listener = listen("127.0.0.1", 0)
print(listener.getsockname()[1], flush=True)
serve(Store.open(Path(sys.argv[1])), listener, summarise=Dashboard())
"""


def start(folder: Path) -> tuple[subprocess.Popen[str], int]:
    """The process that serves a project, and its port."""
    server = subprocess.Popen([sys.executable, "-c", SERVER, str(folder)], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    return server, int(server.stdout.readline())
