/* Arrays as DLPack's structs, which the library makes: their deleters are plain C, so that a
 * framework may call them on any thread, without the GIL, and after the interpreter is gone. */
#include "batch/dlpack_abi.h"
#include "core.h"

static const struct {
    enum sterna_dlpack_code code;
    unsigned bits;
} dtypes[CORE_DTYPES] = {
    [CORE_UINT8] = {STERNA_DLPACK_UINT, 8}, [CORE_BOOL] = {STERNA_DLPACK_BOOL, 8},
    [CORE_INT32] = {STERNA_DLPACK_INT, 32}, [CORE_UINT32] = {STERNA_DLPACK_UINT, 32},
    [CORE_INT64] = {STERNA_DLPACK_INT, 64},
};

/* Capsules that nobody has taken still have their name. */
static void drop_legacy(PyObject *capsule) {
    if (!PyCapsule_IsValid(capsule, "dltensor")) return;
    struct DLManagedTensor *tensor = PyCapsule_GetPointer(capsule, "dltensor");
    tensor->deleter(tensor);
}

static void drop_versioned(PyObject *capsule) {
    if (!PyCapsule_IsValid(capsule, "dltensor_versioned")) return;
    struct DLManagedTensorVersioned *tensor = PyCapsule_GetPointer(capsule, "dltensor_versioned");
    tensor->deleter(tensor);
}

static PyObject *legacy_capsule(struct DLManagedTensor *tensor) {
    PyObject *capsule = PyCapsule_New(tensor, "dltensor", drop_legacy);
    if (!capsule) tensor->deleter(tensor);
    return capsule;
}

static PyObject *versioned_capsule(struct DLManagedTensorVersioned *tensor) {
    PyObject *capsule = PyCapsule_New(tensor, "dltensor_versioned", drop_versioned);
    if (!capsule) tensor->deleter(tensor);
    return capsule;
}

/* ---- the protocol ---- */

/* First of a pair of ints, or -1 with an exception. */
static int pair(PyObject *o, const char *name, long out[2]) {
    PyObject *first = NULL, *second = NULL;
    int rc = -1;
    if (PyTuple_Check(o) && PyTuple_Size(o) == 2) {
        first = PyNumber_Index(PyTuple_GetItem(o, 0)); /* a device type may be an enum of ints */
        second = first ? PyNumber_Index(PyTuple_GetItem(o, 1)) : NULL;
        if (second) {
            out[0] = PyLong_AsLong(first);
            out[1] = PyLong_AsLong(second);
            rc = PyErr_Occurred() ? -1 : 0;
        }
    } else {
        PyErr_Format(PyExc_TypeError, "__dlpack__(): %s must be a tuple of two ints, not %R", name,
                     o);
    }
    Py_XDECREF(first);
    Py_XDECREF(second);
    return rc;
}

static PyObject *export(struct core_module *m, const struct core_array *a, int versioned,
                        int copied) {
    const int64_t shape[2] = {a->shape[0], a->shape[1]};
    struct sterna_dlpack_tensor t = {
        .data = a->address,
        .code = dtypes[a->dtype].code,
        .bits = dtypes[a->dtype].bits,
        .ndim = a->ndim,
        .shape = shape,
        .readonly = a->readonly,
        .copied = copied,
    };
    if (a->readonly && !versioned) {
        PyErr_SetString(PyExc_BufferError,
                        "this array is read-only, which the consumer's form of DLPack cannot be "
                        "told: use the buffer protocol (numpy.asarray), or copy=True");
        return NULL;
    }
    struct DLManagedTensor *legacy = NULL;
    struct DLManagedTensorVersioned *tensor = NULL;
    struct core_hold kept = core_hold_lend(&a->hold, &t);
    int rc = versioned ? sterna_dlpack_export_versioned(&t, &tensor, NULL)
                       : sterna_dlpack_export(&t, &legacy, NULL);
    if (rc == STERNA_OK) return versioned ? versioned_capsule(tensor) : legacy_capsule(legacy);
    core_hold_release(&kept);
    return core_raise(m, rc, NULL); /* no memory */
}

static PyObject *export_copy(struct core_module *m, const struct core_array *a, int versioned) {
    void *at;
    size_t bytes = core_array_bytes(a);
    struct core_array copy = *a;
    copy.hold = core_hold_memory(bytes, &at);
    if (copy.hold.kind == CORE_HOLDS_NOTHING) return PyErr_NoMemory();
    PyThreadState *gil = PyEval_SaveThread();
    memcpy(at, a->address, bytes);
    PyEval_RestoreThread(gil);
    copy.address = at;
    copy.readonly = 0;
    PyObject *capsule = export(m, &copy, versioned, 1);
    core_hold_release(&copy.hold);
    return capsule;
}

PyObject *core_array_dlpack(PyObject *self, PyObject *args, PyObject *kwargs) {
    struct core_module *m = core_module_of(self);
    const struct core_array *a = CORE_DATA(self, struct core_array);
    PyObject *stream = NULL, *max_version = NULL, *device = NULL, *copy = NULL;
    long version[2] = {0, 0}, on[2] = {STERNA_DLPACK_CPU, 0};
    core_keep keep = NULL;
    const struct core_argument table[] = {
        {"stream", CORE_OBJECT, &stream, CORE_OR_NONE, NULL, 0},
        {"max_version", CORE_OBJECT, &max_version, CORE_OR_NONE, NULL, 0},
        {"dl_device", CORE_OBJECT, &device, CORE_OR_NONE, NULL, 0},
        {"copy", CORE_OBJECT, &copy, CORE_OR_NONE, NULL, 0},
    };
    if (core_arguments(m, "__dlpack__", args, kwargs, table, CORE_COUNT(table), 0, &keep) < 0)
        return NULL;
    if (max_version && pair(max_version, "max_version", version) < 0) return NULL;
    if (device && pair(device, "dl_device", on) < 0) return NULL;
    if (on[0] != STERNA_DLPACK_CPU || on[1] != 0) {
        PyErr_SetString(PyExc_BufferError, "this array is in CPU memory: dl_device (1, 0)");
        return NULL;
    }
    int wants_copy = copy ? PyObject_IsTrue(copy) : 0;
    if (wants_copy < 0) return NULL;
    return wants_copy ? export_copy(m, a, version[0] >= 1) : export(m, a, version[0] >= 1, 0);
}

PyObject *core_array_dlpack_device(PyObject *self, PyObject *unused) {
    (void)self;
    (void)unused;
    return Py_BuildValue("(ii)", (int)STERNA_DLPACK_CPU, 0);
}

const char core_array_dlpack_doc[] =
    "__dlpack__($self, /, *, stream=None, max_version=None, dl_device=None, copy=None)\n--\n\n"
    "A capsule with this memory, which it keeps alive: the legacy struct unless max_version is at\n"
    "least (1, 0). `stream` means nothing to a CPU. BufferError: another device; or this is\n"
    "read-only, and the legacy struct cannot tell.";
const char core_array_dlpack_device_doc[] =
    "__dlpack_device__($self, /)\n--\n\n(1, 0): CPU memory.";
