"""`python -m sainet` is the `sainet` command."""

from sainet.cli.app import main

if __name__ == "__main__":
    main()
