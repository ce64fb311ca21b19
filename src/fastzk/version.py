"""The version of fastzk, said once."""

VERSION = "0.1.0"
