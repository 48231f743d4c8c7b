"""python -m featherlight."""

import sys

from featherlight.cli import main

sys.exit(main())
