"""Speaking with Azure: addresses, bytes, raw documents. No policy, and nothing of what a VM does with the answers."""
