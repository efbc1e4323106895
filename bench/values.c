#include "values.h"

#include <string.h>

static void must_mdb(int rc) {
    if (rc) die("LMDB: %s", mdb_strerror(rc));
}

void values_open(struct values *v, const char *store) {
    MDB_stat st;
    MDB_dbi dbi;
    must_mdb(mdb_env_create(&v->env));
    must_mdb(mdb_env_set_mapsize(v->env, (size_t)1 << 40));
    must_mdb(mdb_env_open(v->env, store, MDB_RDONLY | MDB_NOTLS | MDB_NORDAHEAD, 0666));
    must_mdb(mdb_env_get_fd(v->env, &v->fd));
    must_mdb(mdb_txn_begin(v->env, NULL, MDB_RDONLY, &v->txn));
    must_mdb(mdb_dbi_open(v->txn, NULL, 0, &dbi));
    must_mdb(mdb_cursor_open(v->txn, dbi, &v->cursor));
    must_mdb(mdb_env_stat(v->env, &st));
    v->page_bytes = st.ms_psize;
}

void values_find(const struct values *v, const uint8_t id[STERNA_ID_BYTES], uint8_t field,
                 struct value *out) {
    uint8_t bytes[STERNA_ID_BYTES + 1];
    MDB_val key = {sizeof bytes, bytes}, value;
    uint64_t number;
    memcpy(bytes, id, STERNA_ID_BYTES);
    bytes[STERNA_ID_BYTES] = field;
    must_mdb(mdb_cursor_get(v->cursor, &key, &value, MDB_SET_KEY));
    /* The key's page begins with its number, which tells where in the map the file begins. */
    const uint8_t *page = (const uint8_t *)((uintptr_t)key.mv_data & ~(v->page_bytes - 1));
    memcpy(&number, page, sizeof number);
    out->data = value.mv_data;
    out->bytes = value.mv_size;
    out->offset = (off_t)(number * v->page_bytes) + (out->data - page);
}

void values_close(struct values *v) {
    mdb_cursor_close(v->cursor);
    mdb_txn_abort(v->txn);
    mdb_env_close(v->env);
}
