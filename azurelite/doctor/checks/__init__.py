"""The checks by subject. Each yields a finding per defect, and nothing where all is well."""
