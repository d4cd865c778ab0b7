"""`python -m roamlog`."""

from roamlog.cli import main

if __name__ == "__main__":
    main()
