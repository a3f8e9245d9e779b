"""How raw files get here: requests, mirrors, copies, checksums."""
