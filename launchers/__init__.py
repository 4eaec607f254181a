"""What `./nextflow` and `./test` do before they start: standard library only, no import from the package."""
