"""`python -m bulkrnabert.cli`, which `torchrun` starts on every rank."""

from bulkrnabert.cli import main

if __name__ == "__main__":
    main()
