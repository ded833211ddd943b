"""Makes sure that the system has what the tests need and pip cannot bring: a C++ compiler and Chromium.

On a Debian machine where this runs as root, what is missing is installed with apt-get; elsewhere it is named, with what
to do, and the run fails: no test is left out in silence.
"""

import os
import shutil
import subprocess
import sys

NEEDED = {"g++": ("g++", "c++"), "chromium": ("chromium", "chromium-browser", "google-chrome")}


def missing() -> list[str]:
    """Debian packages of what cannot be found on PATH."""
    return [package for package, programs in NEEDED.items() if not any(shutil.which(name) for name in programs)]


def main() -> int:
    lacking = missing()
    if lacking and shutil.which("apt-get") and os.geteuid() == 0:
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "update", "-qq"], check=True, env=environment)
        subprocess.run(
            ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *lacking], check=True, env=environment
        )
        lacking = missing()
    if lacking:
        print(f"the tests need {', '.join(lacking)} on PATH; on Debian: sudo apt-get install {' '.join(lacking)}")
    return 1 if lacking else 0


if __name__ == "__main__":
    sys.exit(main())
