"""Everything that the command does can be done from Python, by the same names."""

import inspect
import re
import subprocess
import sys

import pytest

import sterna

FOR_MACHINES = {"help", "json", "quiet", "verbose", "format"}  # of a command's output
DS = sterna.Dataset
CHOICE = {"where": DS.where, "selection": DS.select, "ids": DS.select, "as-of": DS.as_of}

# Of each command: the calls that take its options as arguments of the same name; options that are
# spelled otherwise, and as what of which call; and options that need no counterpart.
COMMANDS = {
    "ingest": ([sterna.ingest], {"field": (sterna.ingest, "fields")},
               {"allow-skipped", "print-ddl"}),  # the result's n_skipped; DDL is for administrators
    "copy": ([sterna.copy], {}, {"allow-skipped"}),
    "info": ([DS.info], {}, {"all"}),
    "query": ([DS.metadata], {"save": (DS.save, "to"), "as-of": (DS.as_of, "run")},
              {"limit", "time-limit"}),  # a list can be cut; where() keeps to the usual time limit
    "split": ([DS.split], {"where": (DS.where, "sql")}, set()),
    "plan": ([sterna.Loader, sterna.Loader.ids_at],
             {**{name: (call, None) for name, call in CHOICE.items()},
              "no-shuffle": (sterna.Loader, "shuffle"),
              "state": (sterna.Loader.load_state, "path")},
             set()),
    "read": ([sterna.Loader],
             {**{name: (call, None) for name, call in CHOICE.items()},
              "no-shuffle": (sterna.Loader, "shuffle"),
              "state": (sterna.Loader.save_state, "path")},
             {"verify", "report"}),  # sterna.verify() and loader.stats()
    "verify": ([sterna.verify], {}, set()),
    "probe": ([sterna.probe], {}, set()),
}


def sterna_help(*command):
    done = subprocess.run([sys.executable, "-m", "sterna", *command, "--help"], check=True,
                          capture_output=True, text=True)
    return done.stdout


def parameters(call):
    return set(inspect.signature(call).parameters)


def test_each_command_has_a_counterpart():
    listed = set(re.findall(r"^  (\w+)  +\S", sterna_help(), re.MULTILINE))
    assert listed == set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_options_have_the_names_of_arguments(command):
    calls, otherwise, without = COMMANDS[command]
    options = set(re.findall(r"^  (?:-\w, )?--([\w-]+)", sterna_help(command), re.MULTILINE))
    known = set().union(*map(parameters, calls))
    missing = []
    for option in options - FOR_MACHINES - without:
        call, argument = otherwise.get(option, (None, option.replace("-", "_")))
        if call is None and argument not in known:
            missing.append(option)
        if call is not None and argument is not None:
            assert argument in parameters(call), (option, call)
    assert not missing
    stale = (set(otherwise) | without) - options
    assert not stale, f"{command} has no such options any more"


def test_docstrings_name_all_arguments():
    """Of the calls that have the command's options."""
    for call in (sterna.ingest, sterna.copy, sterna.verify, sterna.probe, sterna.Writer,
                 sterna.Loader):
        text = inspect.getdoc(call)
        for name in parameters(call) - {"url", "dir", "source", "to", "dataset"}:
            assert re.search(rf"\b{name}\b", text), f"{call.__name__}: {name}"
