"""The provisioning disc: finding it, and reading UDF and ISO 9660 without the kernel. Bytes; no policy."""
