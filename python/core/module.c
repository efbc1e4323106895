/* The module: its state, its types, and the functions that other files give it. */
#include "core.h"

struct core_module *core_module_of(PyObject *self) {
    return PyType_GetModuleState(Py_TYPE(self)); /* no type of ours can be derived from */
}

PyObject *core_new(PyTypeObject *type) {
    allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    return alloc(type, 0);
}

void core_delete(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    freefunc give_back = (freefunc)PyType_GetSlot(type, Py_tp_free);
    give_back(self);
    Py_DECREF(type);     /* instances of heap types hold theirs */
    core_given_let_go(); /* it may have been the last that used one */
}

static int load_errors(struct core_module *m) {
    PyObject *errors = PyImport_ImportModule("sterna.errors");
    if (!errors) return -1;
    m->errors = PyObject_GetAttrString(errors, "BY_CODE");
    Py_DECREF(errors);
    if (m->errors && PyDict_Check(m->errors)) return 0;
    if (m->errors) PyErr_SetString(PyExc_ImportError, "sterna.errors.BY_CODE is no dict");
    return -1;
}

static int add_type(PyObject *module, PyType_Spec *spec, PyTypeObject **type) {
    *type = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, NULL);
    return *type ? PyModule_AddType(module, *type) : -1;
}

static int add_types(PyObject *module, struct core_module *m) {
    return add_type(module, &core_array_spec, &m->array) ||
                   add_type(module, &core_field_spec, &m->field) ||
                   add_type(module, &core_batch_spec, &m->batch) ||
                   add_type(module, &core_store_spec, &m->store) ||
                   add_type(module, &core_selection_spec, &m->selection) ||
                   add_type(module, &core_loader_spec, &m->loader) ||
                   add_type(module, &core_fetcher_spec, &m->fetcher) ||
                   add_type(module, &core_ingest_spec, &m->ingest)
               ? -1
               : 0;
}

static int add_functions(PyObject *module) {
    PyMethodDef *const methods[] = {core_state_methods, core_copy_methods, core_ingest_methods,
                                    core_log_methods,   core_plan_methods, core_command_methods};
    for (size_t i = 0; i < CORE_COUNT(methods); i++)
        if (PyModule_AddFunctions(module, methods[i]) < 0) return -1;
    return 0;
}

/* "0.1" of "0.1.0" is what may not change while the major version is 0, but all of it is told. */
static int add_versions(PyObject *module) {
    return PyModule_AddStringConstant(module, "__version__", STERNA_VERSION) < 0 ||
                   PyModule_AddStringConstant(module, "abi", sterna_version()) < 0
               ? -1
               : 0;
}

static int exec_module(PyObject *module) {
    struct core_module *m = PyModule_GetState(module);
    if (core_process_watch() < 0 || load_errors(m) < 0 || add_types(module, m) < 0) return -1;
    if (add_functions(module) < 0 || add_versions(module) < 0) return -1;
    core_log_setup();
    return 0;
}

static int traverse_module(PyObject *module, visitproc visit, void *arg) {
    struct core_module *m = PyModule_GetState(module);
    if (!m) return 0;
    Py_VISIT(m->errors);
    Py_VISIT(m->array);
    Py_VISIT(m->field);
    Py_VISIT(m->batch);
    Py_VISIT(m->store);
    Py_VISIT(m->selection);
    Py_VISIT(m->loader);
    Py_VISIT(m->fetcher);
    Py_VISIT(m->ingest);
    return 0;
}

static int clear_module(PyObject *module) {
    struct core_module *m = PyModule_GetState(module);
    if (!m) return 0;
    Py_CLEAR(m->errors);
    Py_CLEAR(m->array);
    Py_CLEAR(m->field);
    Py_CLEAR(m->batch);
    Py_CLEAR(m->store);
    Py_CLEAR(m->selection);
    Py_CLEAR(m->loader);
    Py_CLEAR(m->fetcher);
    Py_CLEAR(m->ingest);
    return 0;
}

static void free_module(void *module) { clear_module(module); }

static PyModuleDef_Slot slots[] = {{Py_mod_exec, exec_module}, {0, NULL}};

static struct PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "sterna._core",
    .m_doc = "The C library, as Python objects: thin, typed, without policy.",
    .m_size = sizeof(struct core_module),
    .m_slots = slots,
    .m_traverse = traverse_module,
    .m_clear = clear_module,
    .m_free = free_module,
};

PyMODINIT_FUNC PyInit__core(void) { return PyModuleDef_Init(&definition); }
