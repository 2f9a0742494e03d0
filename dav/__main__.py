"""`python -m dav` is the command `davenport`."""

import sys

from dav.cli import main

sys.exit(main())
