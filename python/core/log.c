/* Lines that the library logs, kept until Python asks for them. The library calls on its own
 * threads, which must not wait for the GIL. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "core.h"

enum { LINES_MAX = 1000 };

struct line {
    struct line *next;
    int level;
    char text[];
};

/* Never held by another thread when a process forks: take_log() has the GIL, and the library holds
 * a lock of its own around keep_line() and forks. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct line *first, **last = &first;
static unsigned n_lines;
static unsigned long n_lost; /* older lines that made room for newer ones */

static struct line *take_first(void) {
    struct line *line = first;
    first = line->next;
    if (!first) last = &first;
    n_lines--;
    return line;
}

static void keep_line(void *ctx, int level, const char *message) {
    size_t bytes = strlen(message) + 1;
    struct line *line = malloc(sizeof *line + bytes), *old = NULL;
    (void)ctx;
    pthread_mutex_lock(&lock);
    if (line) {
        line->next = NULL;
        line->level = level;
        memcpy(line->text, message, bytes);
        if (n_lines == LINES_MAX) old = take_first();
        *last = line;
        last = &line->next;
        n_lines++;
    }
    n_lost += !line || old;
    pthread_mutex_unlock(&lock);
    free(old);
}

static struct line *take_all(unsigned long *lost) {
    pthread_mutex_lock(&lock);
    struct line *all = first;
    *lost = n_lost;
    first = NULL;
    last = &first;
    n_lines = 0;
    n_lost = 0;
    pthread_mutex_unlock(&lock);
    return all;
}

/* When the interpreter is gone nobody asks any more. */
static void back_to_stderr(void) {
    unsigned long lost;
    sterna_set_log(sterna_log_to_stderr, NULL);
    for (struct line *line = take_all(&lost), *next; line; line = next) {
        next = line->next;
        sterna_log_to_stderr(NULL, line->level, line->text);
        free(line);
    }
}

void core_log_setup(void) {
    static int done;
    if (!done) Py_AtExit(back_to_stderr);
    done = 1;
    sterna_set_log(keep_line, NULL);
}

static int append(PyObject *list, int level, const char *text) {
    PyObject *words = CORE_TEXT(text);
    PyObject *pair = words ? Py_BuildValue("(iN)", level, words) : NULL;
    int rc = pair ? PyList_Append(list, pair) : -1;
    Py_XDECREF(pair);
    return rc;
}

static PyObject *take_log(PyObject *module, PyObject *unused) {
    unsigned long lost;
    char words[80];
    (void)module;
    (void)unused;
    PyObject *list = PyList_New(0);
    struct line *line = list ? take_all(&lost) : NULL;
    if (line && lost > 0) {
        PyOS_snprintf(words, sizeof words, "%lu earlier lines were lost: nobody took them", lost);
        if (append(list, STERNA_LOG_WARNING, words) < 0) Py_CLEAR(list);
    }
    for (struct line *next; line; line = next) {
        next = line->next;
        if (list && append(list, line->level, line->text) < 0) Py_CLEAR(list);
        free(line);
    }
    return list;
}

PyMethodDef core_log_methods[] = {
    {"take_log", take_log, METH_NOARGS,
     "take_log()\n--\n\n"
     "Lines that the library has logged since the last call (at most 1000 are kept): level 1\n"
     "error, 2 warning, 3 info; and the line."},
    {0},
};
