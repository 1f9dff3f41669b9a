"""Real workers under every fault that can be had on one machine, and a plain count of what they had to store."""
