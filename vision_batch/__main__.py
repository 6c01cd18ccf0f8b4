"""`python -m vision_batch` is `vision-batch`."""

import sys

from vision_batch.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
