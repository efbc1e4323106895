/* The command, as a function. */
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "command.h"
#include "core.h"

/* The command has handlers of its own, and a log: they are taken back, for whoever calls it from a
 * program that goes on. */
static int run(int argc, char **argv) {
    static const int numbers[] = {SIGINT, SIGTERM, SIGPIPE};
    struct sigaction before[CORE_COUNT(numbers)];
    for (size_t i = 0; i < CORE_COUNT(numbers); i++) sigaction(numbers[i], NULL, &before[i]);
    /* PYTHONUNBUFFERED means Python's output, but takes C's buffer away too. */
    static char buffer[BUFSIZ];
    setvbuf(stdout, buffer, isatty(STDOUT_FILENO) ? _IOLBF : _IOFBF, sizeof buffer);
    int rc = cli_command(argc, argv);
    for (size_t i = 0; i < CORE_COUNT(numbers); i++) sigaction(numbers[i], &before[i], NULL);
    core_log_setup();
    return rc;
}

static PyObject *command(PyObject *module, PyObject *o) {
    struct core_module *m = PyModule_GetState(module);
    PyObject *tuple = PySequence_Tuple(o), *code = NULL;
    core_keep keep = NULL;
    if (core_keep_object(&keep, tuple) < 0) goto done;
    Py_ssize_t argc = PyTuple_Size(tuple);
    char **argv = core_keep_memory(&keep, ((size_t)argc + 1) * sizeof *argv);
    if (!argv) goto done;
    argv[argc] = NULL;
    for (Py_ssize_t i = 0; i < argc; i++) {
        PyObject *word = PyTuple_GetItem(tuple, i);
        if (!PyUnicode_Check(word)) {
            PyErr_Format(PyExc_TypeError, "main(): argv must be str, not %R", word);
            goto done;
        }
        argv[i] = (char *)(uintptr_t)core_text_of(m, word, "an argument", &keep);
        if (!argv[i]) goto done;
    }
    int rc;
    PyThreadState *gil = PyEval_SaveThread();
    rc = run((int)argc, argv);
    PyEval_RestoreThread(gil);
    code = PyLong_FromLong(rc);
done:
    Py_XDECREF(keep);
    return code;
}

PyMethodDef core_command_methods[] = {
    {"main", command, METH_O,
     "main(argv, /)\n--\n\n"
     "The command `sterna`, as a process runs it: its exit code. argv[0] is its name. It\n"
     "writes to the process's own standard output, and closes that at its end."},
    {0},
};
