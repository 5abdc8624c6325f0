"""What the command line does beyond reading its arguments: `dscwb sweep`, `report` and `lab`."""
