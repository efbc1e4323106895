/* What the files of the extension `sterna._core` share. This header alone includes Python.h.
 *
 * The extension is thin: it turns arguments into C's, gives the GIL away, calls the library, and
 * turns what comes back into objects. It keeps to the limited API of Python 3.11, so that one
 * binary serves all later versions, and to instance data behind CORE_DATA(), so that PEP 697 (and
 * with it free-threaded builds) is a change of one macro and of the specs' sizes. No thread of the
 * library ever calls Python. */
#ifndef STERNA_CORE_H
#define STERNA_CORE_H

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "sterna/sterna.h"

#define CORE_COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define CORE_ALIGN 64     /* of all memory that arrays lie in */
#define CORE_SLICE_MS 100 /* no call waits longer without looking for signals */
#define CORE_TEXT(s) core_text((s), strlen(s))

/* An instance of a type: Python's head, then ours. */
#define CORE_HEAD_BYTES ((sizeof(PyObject) + 15) & ~(size_t)15)
#define CORE_DATA(self, data) ((data *)((char *)(self) + CORE_HEAD_BYTES))
#define CORE_SIZE(data) ((int)(CORE_HEAD_BYTES + sizeof(data)))

/* ---- module.c ---- */

struct core_module {  /* the module's state */
    PyObject *errors; /* sterna.errors.BY_CODE */
    PyTypeObject *array, *field, *batch, *store, *selection, *loader, *fetcher, *ingest;
};
struct core_module *core_module_of(PyObject *self); /* of an instance of one of its types */

extern PyType_Spec core_array_spec, core_field_spec, core_batch_spec, core_store_spec,
    core_selection_spec, core_loader_spec, core_fetcher_spec, core_ingest_spec;

/* An instance without data (zeros); and what each type's dealloc ends with. */
PyObject *core_new(PyTypeObject *type);
void core_delete(PyObject *self);

/* ---- errors.c ---- */

/* Raises what belongs to the code, with the library's message; returns NULL. */
PyObject *core_raise(struct core_module *m, int code, const struct sterna_error *err);
/* The same with a message of our own (PyUnicode_FromFormat's words). */
PyObject *core_raise_text(struct core_module *m, int code, const char *format, ...);

/* ---- arguments.c ---- */

enum core_kind {
    CORE_TEXT_ARG,  /* const char **: str, or os.PathLike */
    CORE_TEXTS,     /* struct core_texts *: a sequence of str */
    CORE_FLAG,      /* int *: anything, by its truth */
    CORE_INT,       /* int * */
    CORE_UNSIGNED,  /* unsigned * (uint32_t *) */
    CORE_U64,       /* uint64_t * */
    CORE_REAL,      /* double * */
    CORE_WORD,      /* int *: the number of one of `words` */
    CORE_BUFFER,    /* Py_buffer *: C-contiguous bytes; release it, also after a failure */
    CORE_OBJECT,    /* PyObject **: borrowed */
    CORE_FUNCTION,  /* PyObject **: borrowed, callable */
    CORE_STORE,     /* PyObject **: borrowed, an instance of Store */
    CORE_SELECTION, /* PyObject **: borrowed, an instance of Selection */
};

struct core_argument {
    const char *name;
    enum core_kind kind;
    void *to; /* left as it is when the argument is not given, or None where that is allowed */
    int flags;
    const char *const *words; /* ended by NULL */
    size_t bytes;             /* that a buffer must have; or of which its size is a multiple */
};
enum {
    CORE_REQUIRED = 1,
    CORE_OR_NONE = 2,
    CORE_EXACT = 4, /* a buffer has just `bytes` */
};

struct core_texts {
    const char **at; /* NULL: not given */
    size_t n;
};

/* Temporary objects of one call, which C pointers point into: let go with Py_CLEAR. */
typedef PyObject *core_keep;
int core_keep_object(core_keep *keep, PyObject *taken); /* takes the reference; NULL fails */
void *core_keep_memory(core_keep *keep, size_t bytes);

/* Takes args and kwargs apart by a table; the first n_positional may be given by position. -1 with
 * an exception that names the function and the argument. */
int core_arguments(struct core_module *m, const char *function, PyObject *args, PyObject *kwargs,
                   const struct core_argument *table, size_t n, size_t n_positional,
                   core_keep *keep);
/* The text of a str, without a NUL in it; raw bytes come back as they once were given. */
const char *core_text_of(struct core_module *m, PyObject *o, const char *what, core_keep *keep);
/* The same, of what must be a str. */
const char *core_name_of(struct core_module *m, PyObject *o, const char *what, core_keep *keep);
/* A sequence as a tuple of n items (-1: any number), kept; NULL with an exception. */
PyObject *core_tuple_of(PyObject *o, Py_ssize_t n, const char *what, core_keep *keep);
int core_kind_of(struct core_module *m, PyObject *o, enum sterna_kind *kind); /* of a field */

/* ---- values.c: C values as Python's ---- */

PyObject *core_text(const char *text, size_t bytes); /* bytes that are no UTF-8 as surrogates */
PyObject *core_value(const struct sterna_value *value);
/* Sets d[name] to a value that it takes; NULL fails. */
int core_set(PyObject *d, const char *name, PyObject *taken);
int core_set_u64(PyObject *d, const char *name, uint64_t value);
int core_set_text(PyObject *d, const char *name, const char *text);

/* ---- handle.c: a C handle that several threads use and one may close ---- */

struct core_handle {
    void *p;
    void (*close)(void *p);
    unsigned users;
    unsigned forks; /* of this process, when it was opened */
    int closed;
    struct core_handle *next, **before; /* of all that are open */
};
void core_handle_init(struct core_handle *h, void *p, void (*close)(void *p));
/* The C handle, until core_handle_leave(); or NULL with InvalidError or ForkedError. */
void *core_handle_enter(struct core_module *m, struct core_handle *h, const char *what);
void core_handle_leave(struct core_handle *h);
/* Closed for later calls at once, and freed when the last user has left. */
void core_handle_close(struct core_handle *h);

/* How often this process has been forked off since the module was loaded: what was opened at
 * another number belongs to a parent. */
unsigned core_forks(void);
int core_process_watch(void);

/* ---- hold.c: C memory that arrays lie in; any thread, with or without Python ---- */

struct core_memory; /* reference-counted bytes of our own */
struct core_hold {
    enum { CORE_HOLDS_NOTHING, CORE_HOLDS_MEMORY, CORE_HOLDS_BATCH, CORE_HOLDS_SELECTION } kind;
    union {
        struct core_memory *memory;
        sterna_batch *batch;
        sterna_selection *selection;
    } what;
};
struct core_hold core_hold_memory(size_t bytes, void **at); /* aligned; NOTHING: no memory */
struct core_hold core_hold_batch(sterna_batch *taken);
struct core_hold core_hold_selection(sterna_selection *taken);
struct core_hold core_hold_retain(const struct core_hold *hold);
void core_hold_release(struct core_hold *hold);
/* Says in `tensor` who keeps its memory. What it returns is the tensor's, once there is one. */
struct core_hold core_hold_lend(const struct core_hold *hold, struct sterna_dlpack_tensor *tensor);

/* ---- array.c, dlpack.c ---- */

enum core_dtype { CORE_UINT8, CORE_BOOL, CORE_INT32, CORE_UINT32, CORE_INT64, CORE_DTYPES };

struct core_array {
    struct core_hold hold;
    void *address;
    enum core_dtype dtype;
    int readonly;
    int ndim;                        /* 1 or 2 */
    Py_ssize_t shape[2], strides[2]; /* strides in bytes */
};
/* n_columns 0: one dimension. Takes no reference: the array gets its own. */
PyObject *core_array_new(struct core_module *m, const struct core_hold *hold, const void *address,
                         enum core_dtype dtype, size_t n, size_t n_columns, int readonly);
/* n entries of fresh memory, to be filled by the caller. */
PyObject *core_array_fresh(struct core_module *m, enum core_dtype dtype, size_t n, void **at);
size_t core_dtype_bytes(enum core_dtype dtype);
size_t core_array_bytes(const struct core_array *a);
PyObject *core_array_dlpack(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *core_array_dlpack_device(PyObject *self, PyObject *unused);
extern const char core_array_dlpack_doc[], core_array_dlpack_device_doc[];

/* ---- loader.c, given.c ---- */

struct core_handle *core_loader_handle(PyObject *loader);
PyObject *core_loader_give_buffer(PyObject *self, PyObject *buffer);
extern const char core_loader_give_buffer_doc[];
/* Lets go of buffers that the library has given back. With the GIL; may run any Python. */
void core_given_let_go(void);

/* ---- batch.c, field.c ---- */

PyObject *core_batch_new(struct core_module *m, sterna_batch *taken);
PyObject *core_field_new(struct core_module *m, const struct core_hold *hold, uint32_t f);

/* ---- store.c, selection.c, query.c, split.c ---- */

struct core_store_use { /* zeros: none */
    PyObject *object;   /* a Store, held */
    sterna_store *store;
};
/* -1 with InvalidError or ForkedError. */
int core_store_enter(struct core_module *m, PyObject *store, struct core_store_use *use);
void core_store_leave(struct core_store_use *use);
int core_store_is_remote(PyObject *store); /* its calls go over a network */

PyObject *core_selection_new(struct core_module *m, sterna_selection *taken);
/* A reference of the caller's own, or NULL with InvalidError. */
sterna_selection *core_selection_get(struct core_module *m, PyObject *selection);

PyObject *core_store_select(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *core_store_query(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *core_store_split(PyObject *self, PyObject *args, PyObject *kwargs);
extern const char core_store_select_doc[], core_store_query_doc[], core_store_split_doc[];

/* ---- job.c: calls of the library that cannot be stopped ---- */

struct core_job {                     /* the first member of what it needs and makes */
    int (*run)(struct core_job *job); /* without the GIL, and without Python */
    void (*drop)(
        struct core_job *job); /* with the GIL: lets go of all that it holds, and frees it */
    int rc;                    /* what run() returned */
    struct sterna_error err;
    int is_short; /* it waits for nobody: run it on the caller's thread */
    /* job.c's own */
    struct core_thread *thread; /* NULL: the caller's */
    PyThreadState *caller;      /* who has given the GIL away */
    unsigned forks;
    struct core_job *next;
};
/* `bytes` of zeros, for a struct that begins with the job; NULL with an exception. */
void *core_job_new(size_t bytes, int (*run)(struct core_job *job),
                   void (*drop)(struct core_job *job));
/* Runs it. A negative code comes with an exception: the library's; of what it asked for; or a
 * signal handler's, while it goes on: then nothing of it may be touched. */
int core_job_run(struct core_module *m, struct core_job *job);
/* In any case, at the end: drops it, now or when it has ended. */
void core_job_end(struct core_job *job);
/* In run(): has something done by Python on the caller's thread, which returns not 0 if it raised
 * an exception. Not 0: run() shall come to its end; nothing may have been done then. */
int core_job_ask(struct core_job *job, int (*with_gil)(void *arg), void *arg);

/* Rows of values that the library gives one by one to a job. */
struct core_rows {
    struct core_job *job;
    size_t n_columns;
    PyObject **columns; /* a list each, from the first flush on */
    struct sterna_value *values;
    size_t n_values, cap_values;
    char *texts;
    size_t n_texts, cap_texts;
    int failed; /* no memory */
};
int core_rows_add(struct core_rows *r, const struct sterna_value *values); /* 0, or stop */
/* The columns' lists have all that was added; -1 with an exception. With the GIL. */
int core_rows_flush(struct core_rows *r);
PyObject *core_rows_tuples(struct core_rows *r);
PyObject *core_rows_dicts(struct core_rows *r, const char *const *names);
void core_rows_fini(struct core_rows *r);

/* ---- slice.c: long waits in short ones, between which signal handlers run ---- */

int64_t core_now_ms(void);
/* How long to wait now, of timeout_ms (-1: for ever) that end at until_ms. */
int core_slice_ms(int64_t until_ms, int timeout_ms);

/* ---- stats.c ---- */

PyObject *core_stats(const struct sterna_stats *s);
PyObject *core_path(const struct sterna_path *p);

/* ---- functions of the module ---- */

extern PyMethodDef core_state_methods[], core_copy_methods[], core_ingest_methods[],
    core_log_methods[], core_plan_methods[], core_command_methods[];
void core_log_setup(void);
PyObject *core_outcome_counts(const uint64_t *counts); /* by name */

#endif
