/* Arrays as DLPack's structs. The deleters are plain C: a framework may call them on any thread,
 * without the GIL, and after the interpreter is gone. */
#include <stdlib.h>
#include <string.h>

#include "core.h"
#include "dlpack/dlpack.h"

/* A tensor in both forms has the same parts behind it. */
struct parts {
    struct core_hold hold;
    int64_t shape[2], strides[2];
};
struct legacy {
    DLManagedTensor managed;
    struct parts parts;
};
struct versioned {
    DLManagedTensorVersioned managed;
    struct parts parts;
};

static const DLDataType dtypes[CORE_DTYPES] = {
    [CORE_UINT8] = {kDLUInt, 8, 1}, [CORE_BOOL] = {kDLBool, 8, 1},
    [CORE_INT32] = {kDLInt, 32, 1}, [CORE_UINT32] = {kDLUInt, 32, 1},
    [CORE_INT64] = {kDLInt, 64, 1},
};

static void describe(DLTensor *t, struct parts *parts, const struct core_array *a) {
    int64_t bytes = (int64_t)core_dtype_bytes(a->dtype);
    for (int i = 0; i < a->ndim; i++) {
        parts->shape[i] = a->shape[i];
        parts->strides[i] = a->strides[i] / bytes; /* in entries */
    }
    *t = (DLTensor){
        .data = a->address,
        .device = {kDLCPU, 0},
        .ndim = a->ndim,
        .dtype = dtypes[a->dtype],
        .shape = parts->shape,
        .strides = parts->strides, /* never NULL, which not all consumers understand */
    };
}

/* The legacy form. */

static void delete_legacy(DLManagedTensor *managed) {
    struct legacy *l = managed->manager_ctx;
    core_hold_release(&l->parts.hold);
    free(l);
}

static void drop_legacy(PyObject *capsule) { /* nobody has taken it: its name is still ours */
    if (!PyCapsule_IsValid(capsule, "dltensor")) return;
    DLManagedTensor *managed = PyCapsule_GetPointer(capsule, "dltensor");
    managed->deleter(managed);
}

static PyObject *export_legacy(const struct core_array *a) {
    struct legacy *l = calloc(1, sizeof *l);
    if (!l) return PyErr_NoMemory();
    describe(&l->managed.dl_tensor, &l->parts, a);
    l->managed.manager_ctx = l;
    l->managed.deleter = delete_legacy;
    PyObject *capsule = PyCapsule_New(&l->managed, "dltensor", drop_legacy);
    if (capsule)
        l->parts.hold = core_hold_retain(&a->hold);
    else
        free(l);
    return capsule;
}

/* The versioned form, which can say that memory is read-only. */

static void delete_versioned(DLManagedTensorVersioned *managed) {
    struct versioned *v = managed->manager_ctx;
    core_hold_release(&v->parts.hold);
    free(v);
}

static void drop_versioned(PyObject *capsule) {
    if (!PyCapsule_IsValid(capsule, "dltensor_versioned")) return;
    DLManagedTensorVersioned *managed = PyCapsule_GetPointer(capsule, "dltensor_versioned");
    managed->deleter(managed);
}

static PyObject *export_versioned(const struct core_array *a, int copied) {
    struct versioned *v = calloc(1, sizeof *v);
    if (!v) return PyErr_NoMemory();
    describe(&v->managed.dl_tensor, &v->parts, a);
    v->managed.version = (DLPackVersion){1, 0}; /* all that we use is in it */
    v->managed.flags = (a->readonly ? DLPACK_FLAG_BITMASK_READ_ONLY : 0) |
                       (copied ? DLPACK_FLAG_BITMASK_IS_COPIED : 0);
    v->managed.manager_ctx = v;
    v->managed.deleter = delete_versioned;
    PyObject *capsule = PyCapsule_New(&v->managed, "dltensor_versioned", drop_versioned);
    if (capsule)
        v->parts.hold = core_hold_retain(&a->hold);
    else
        free(v);
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

static PyObject *export(const struct core_array *a, int versioned, int copied) {
    if (versioned) return export_versioned(a, copied);
    if (!a->readonly) return export_legacy(a);
    PyErr_SetString(PyExc_BufferError,
                    "this array is read-only, which the consumer's form of DLPack cannot be told: "
                    "use the buffer protocol (numpy.asarray), or copy=True");
    return NULL;
}

static PyObject *export_copy(struct core_module *m, const struct core_array *a, int versioned) {
    void *at;
    size_t bytes = core_array_bytes(a);
    struct core_array copy = *a;
    (void)m;
    copy.hold = core_hold_memory(bytes, &at);
    if (copy.hold.kind == CORE_HOLDS_NOTHING) return PyErr_NoMemory();
    Py_BEGIN_ALLOW_THREADS memcpy(at, a->address, bytes);
    Py_END_ALLOW_THREADS copy.address = at;
    copy.readonly = 0;
    PyObject *capsule = export(&copy, versioned, 1);
    core_hold_release(&copy.hold);
    return capsule;
}

PyObject *core_array_dlpack(PyObject *self, PyObject *args, PyObject *kwargs) {
    struct core_module *m = core_module_of(self);
    const struct core_array *a = CORE_DATA(self, struct core_array);
    PyObject *stream = NULL, *max_version = NULL, *device = NULL, *copy = NULL;
    long version[2] = {0, 0}, on[2] = {kDLCPU, 0};
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
    if (on[0] != kDLCPU || on[1] != 0) {
        PyErr_SetString(PyExc_BufferError, "this array is in CPU memory: dl_device (1, 0)");
        return NULL;
    }
    int wants_copy = copy ? PyObject_IsTrue(copy) : 0;
    if (wants_copy < 0) return NULL;
    return wants_copy ? export_copy(m, a, version[0] >= 1) : export(a, version[0] >= 1, 0);
}

PyObject *core_array_dlpack_device(PyObject *self, PyObject *unused) {
    (void)self;
    (void)unused;
    return Py_BuildValue("(ii)", (int)kDLCPU, 0);
}

const char core_array_dlpack_doc[] =
    "__dlpack__($self, /, *, stream=None, max_version=None, dl_device=None, copy=None)\n--\n\n"
    "A capsule with this memory, which it keeps alive: the legacy struct unless max_version is at\n"
    "least (1, 0). `stream` means nothing to a CPU. BufferError: another device; or this is\n"
    "read-only, and the legacy struct cannot tell.";
const char core_array_dlpack_device_doc[] =
    "__dlpack_device__($self, /)\n--\n\n(1, 0): CPU memory.";
