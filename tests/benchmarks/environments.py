"""A virtual environment per peer, with pinned versions from the package index."""

import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path.home() / ".cache" / "nextrec_like_benchmarks"
TORCH = "torch==2.13.0"


@dataclass(frozen=True)
class Peer:
    """What to install.

    Attributes:
        requirements: Packages with pinned versions.
        constraints: File of further pins, relative to the repository; None where the peer's own pins contradict it.
    """

    requirements: tuple[str, ...]
    constraints: str | None = "constraints.txt"


PEERS = {
    "nextrec": Peer(("nextrec==0.6.14",), constraints=None),  # wants numpy < 2, pandas < 2 and pyarrow < 13
    "torch_rechub": Peer(("torch-rechub==0.9.0",)),
    "deepctr_torch": Peer(("deepctr-torch==0.3.0", "requests==2.34.2")),  # imports requests without asking for it
}


def environment(peer: str, folder: Path = FOLDER) -> Path:
    """The Python of a peer's environment, which is made at need: minutes, about 1 GB, and a network.

    Args:
        peer: A key of `PEERS`.
        folder: Where the environments are.

    Raises:
        SystemExit: If pip cannot install the peer.
    """
    home, wanted = folder / peer, "\n".join([TORCH, *PEERS[peer].requirements])
    python, mark = home / "bin" / "python", home / "installed.txt"
    if mark.is_file() and mark.read_text() == wanted:
        return python
    print(f"installing {peer} in {home}", flush=True)
    venv.create(home, clear=True, symlinks=True, with_pip=True)
    pins = home / "torch.txt"
    pins.write_text(f"{TORCH}\n")
    _install(python, [TORCH], pins)
    named = PEERS[peer].constraints
    _install(python, PEERS[peer].requirements, pins if named is None else ROOT / named)
    mark.write_text(wanted)
    return python


def _install(python: Path, requirements: list[str] | tuple[str, ...], constraints: Path) -> None:
    command = [python, "-m", "pip", "install", "--quiet", "--constraint", constraints, *requirements]
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        sys.exit(f"pip could not install {', '.join(requirements)}: {done.stdout[-2000:]}")
