"""``python -m nextrec_like``: the same as the command ``nextrec-like``."""

import sys

try:
    from nextrec_like.cli import main
except KeyboardInterrupt:  # the imports take long enough to be interrupted
    sys.stderr.write("\ninterrupted\n")
    sys.exit(130)

if __name__ == "__main__":
    sys.exit(main())
