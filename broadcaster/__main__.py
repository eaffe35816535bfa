"""Makes `python -m broadcaster` run the command `broadcaster`."""

from broadcaster.commands.main import main

if __name__ == "__main__":
    main(prog_name="broadcaster")
