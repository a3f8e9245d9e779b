"""Transfer of raw files: requests, downloads, copies, checksums."""
