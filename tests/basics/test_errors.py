"""What a process says: whatever a file's words are, they are shown and steer nothing; and no stream must be there."""

import io
import subprocess
import sys
import unicodedata

import pytest
from conftest import ENVIRONMENT, ROOT

from plumbline.basics import errors

BIDI = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
SAYS = "import sys\nfrom plumbline.basics.errors import UserError, run\ndef main():\n    {}\nrun(main)\n"


def process(main: str, before: str = "") -> subprocess.CompletedProcess:
    """A process whose `main` is that."""
    command = ["bash", "-c", f'exec {sys.executable} -c "$0" {before}', SAYS.format(main)]
    return subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True)


@pytest.mark.parametrize("say", ["print({0!r})", "print({0!r}, file=sys.stderr)", "raise UserError({0!r})"])
def test_what_steers_a_terminal_is_shown(say):
    evil = "a\x1b[31m\x9b2J\x07\u202egnp\u2066\r"
    done = process(say.format(evil))
    said = (done.stdout + done.stderr).removeprefix("error: ").rstrip("\n")
    assert said == "a\\u001b[31m\\u009b2J\\u0007\\u202egnp\\u2066\\u000d"


def test_every_character_that_steers_is_known():
    steers = {i for i in range(0x10000) if unicodedata.bidirectional(chr(i)) in {*"BS", *BIDI}}
    steers |= {i for i in range(0x10000) if unicodedata.category(chr(i)) == "Cc"}
    assert steers - {9, 10} <= set(errors.STEERING)


def test_an_error_is_one_line_whatever_a_name_has():
    assert process("raise UserError('column a\\nerror: b')").stderr == "error: column a\\nerror: b\n"


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_a_stream_that_is_closed_ends_no_run_and_no_file_takes_its_number(tmp_path, closed):
    file = tmp_path / "file"
    main = f"file = open({str(file)!r}, 'w'); print('o'); print('e', file=sys.stderr); sys.stdout.flush(); "
    done = process(main + "import os; [os.write(n, b'library') for n in (1, 2)]; file.write('whole')", closed)
    assert done.returncode == 0, done.stderr
    assert file.read_text() == "whole"


def test_streams_are_wrapped_once(monkeypatch):
    out = io.TextIOWrapper(io.BytesIO(), "utf-8")
    monkeypatch.setattr(sys, "stdout", out)
    for _ in range(2000):  # as often as tests call it in one process
        errors.run(lambda: None)
    print("\x1b")
    out.flush()
    assert out.buffer.getvalue() == b"\\u001b\n"
