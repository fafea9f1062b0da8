"""The firmware and Hyper-V: VM id, chassis tag, random seed, and the key-value pools for the host."""
