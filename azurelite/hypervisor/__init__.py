"""What the firmware and Hyper-V say about this machine, and take from it: VM id, chassis tag, key-value pools."""
