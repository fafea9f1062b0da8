#!/bin/sh
# dracut reads its hooks into its own shell, so the work is done by a program of its own.
/usr/bin/azurelite-media
