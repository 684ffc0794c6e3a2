"""The one command line: `plumbline NAME ...`, also as `python -m plumbline NAME ...`.

A command's module is imported when it is asked for, so that each starts as fast as it can.
"""

import argparse
import importlib
import sys

from plumbline.basics import errors

COMMANDS = {  # what each does, and an example
    "start": ("Begin with a table of your own", "plumbline start customers.csv churned"),
    "predict": ("Label and probabilities for new rows", "plumbline predict new.csv --output scored.csv"),
    "export": ("The model as a file for other runtimes", "plumbline export model.onnx"),
    "compare": ("Is the difference between revisions real?", "plumbline compare main my-branch"),
    "verify": ("Does the committed revision reproduce?", "plumbline verify"),
    "report": ("The figures of the last run", "plumbline report"),
}


def main() -> None:
    errors.run(lambda: command(sys.argv[1:]))


def command(words: list[str]) -> None:
    """Run the command that the first word names with those that follow."""
    name, *rest = words or ["--help"]
    if name in ("-h", "--help", "help"):
        print(help_text())
    elif name in COMMANDS:
        module = importlib.import_module(f"plumbline.commands.{name}")
        form = argparse.RawDescriptionHelpFormatter
        parser = argparse.ArgumentParser(f"plumbline {name}", description=module.__doc__, formatter_class=form)
        module.arguments(parser)
        module.main(parser.parse_args(rest))
    else:
        raise errors.UserError(f"{name!r} is no command; there are {', '.join(COMMANDS)} (`plumbline --help`)")


def help_text() -> str:
    """All commands, each with an example."""
    lines = ["usage: plumbline COMMAND ...", ""]
    for name, (what, example) in COMMANDS.items():
        lines += [f"  {name:<9}{what}", f"           {example}", ""]
    return "\n".join([*lines, "`plumbline COMMAND --help` says more. The pipeline itself is run by `dvc repro`."])


if __name__ == "__main__":
    main()
