"""``python -m nextrec_like``: the same as the command ``nextrec-like``."""

import sys

from nextrec_like.cli import main

sys.exit(main())
