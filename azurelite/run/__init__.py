"""One run over a guest: plan, steps, reports, the VM pool. Does not know the command line."""
