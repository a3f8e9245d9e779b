"""Freed memory."""

import subprocess
import sys


def test_freed_memory_goes_back_to_the_system() -> None:
    """Blocks are freed that small ones in use follow."""
    program = """
import torch
from weatherpeft.training.freed_memory import give_freed_memory_back

def resident():
    pages = int(open("/proc/self/statm").read().split()[1])
    return pages * 4096 // 2**20

give_freed_memory_back(2**22)
torch.ones(2**21)
before = resident()
blocks = [(torch.ones(2**21), torch.ones(2**10)) for _ in range(20)]
held = resident()
kept = [small for _, small in blocks]
del blocks
print(held - before, resident() - before)
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    held, left = map(int, found.stdout.split())
    assert held >= 150
    assert left <= 4
