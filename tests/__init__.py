"""Every Ray that a test starts demands a token, and whoever a test starts has it: all inherit it from here."""

import os
import secrets

os.environ["RAY_AUTH_MODE"] = "token"
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
