/* Writing into the embedded store: values gather in a transaction and are committed in large steps.
 *
 * The map is made large enough before a value is put, between transactions, because a transaction
 * that finds it full is lost. A writer whose transaction failed stays failed: whoever goes on as
 * if its earlier values were stored would list samples without bytes. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/bytes.h"
#include "source/lmdb_env.h"
#include "source/lmdb_thread.h"

enum {
    /* Pages that one value may take besides its own: a leaf copied or split, branches, and its
     * share of the free list. And what a transaction may take on top of all its values. */
    PAGES_A_VALUE = 4,
    PAGES_A_TRANSACTION = 256,
    LOOKS_A_TRIM = 64
};
#define COMMIT_BYTES ((size_t)64 << 20)

struct stn_lmdb_writer {
    struct stn_lmdb *db;
    struct stn_lmdb_thread *thread;
    MDB_txn *txn;          /* NULL between transactions */
    size_t used_bytes;     /* of the file when the transaction began */
    size_t map_bytes;      /* then */
    size_t gathered_bytes; /* pages that its values may take, at most */
    unsigned n_looks;      /* since the map's pages were let go */
    uint8_t *map;          /* where the file is mapped; NULL: not known */
    int failed;            /* code of the first failure */
};

static void drop(struct stn_lmdb_writer *w) {
    if (!w->txn) return;
    stn_lmdb_thread_abort(w->thread, w->txn);
    w->txn = NULL;
    stn_lmdb_write_leave(w->db);
}

static int fail(struct stn_lmdb_writer *w, int rc) {
    drop(w);
    w->failed = rc;
    return rc;
}

/* Every page of the file in a new transaction is a mapped one: so the first leaf, whose first
 * 8 bytes are its number, tells where the map is, which LMDB does not. */
static uint8_t *find_map(struct stn_lmdb_writer *w) {
    MDB_cursor *cursor;
    MDB_val key, value;
    uint8_t *map = NULL;
    if (mdb_cursor_open(w->txn, w->db->dbi, &cursor) != MDB_SUCCESS) return NULL;
    if (mdb_cursor_get(cursor, &key, &value, MDB_FIRST) == MDB_SUCCESS) {
        size_t in_page = (uintptr_t)key.mv_data & (w->db->page_bytes - 1);
        uint8_t *page = (uint8_t *)key.mv_data - in_page;
        struct stn_cursor number = stn_cursor(page, 8);
        map = page - stn_get_u64(&number) * w->db->page_bytes;
    }
    mdb_cursor_close(cursor);
    return map;
}

/* Each lookup maps pages around the one it touches, and all of them count as this process's memory
 * until it is told to let them go. They stay in the page cache. */
static void trim_now_and_then(struct stn_lmdb_writer *w) {
    if (++w->n_looks < LOOKS_A_TRIM || !w->map) return;
    w->n_looks = 0;
    (void)madvise(w->map, w->used_bytes, MADV_DONTNEED);
}

static int begin(struct stn_lmdb_writer *w, struct sterna_error *err) {
    if (w->failed)
        return stn_fail(err, w->failed, "%s: not written, because of an earlier failure",
                        w->db->path);
    MDB_envinfo info;
    while (!w->txn) {
        int code = MDB_PANIC;
        stn_lmdb_write_enter(w->db);
        if (!w->db->unmapped) code = stn_lmdb_thread_begin(w->thread, w->db->env, &w->txn);
        if (code == MDB_SUCCESS) {
            mdb_env_info(w->db->env, &info); /* never fails */
            w->used_bytes = (info.me_last_pgno + 1) * w->db->page_bytes;
            w->map_bytes = info.me_mapsize;
            w->gathered_bytes = 0;
            w->map = find_map(w);
            break;
        }
        w->txn = NULL;
        stn_lmdb_write_leave(w->db);
        if (code != MDB_MAP_RESIZED)
            return fail(w, stn_lmdb_fail(w->db, code, "cannot be written", err));
        int rc = stn_lmdb_grow(w->db, 0, err); /* another process made the file larger */
        if (rc < 0) return fail(w, rc);
    }
    return STERNA_OK;
}

/* LMDB reports a write that was cut short, as by a full disk, as EIO. */
static int cause_of(struct stn_lmdb_writer *w, int code) {
    struct statvfs fs;
    if (code == EIO && statvfs(w->db->path, &fs) == 0 &&
        (uint64_t)fs.f_bavail * fs.f_frsize < w->gathered_bytes)
        return ENOSPC;
    return code;
}

int stn_lmdb_writer_commit(struct stn_lmdb_writer *w, struct sterna_error *err) {
    if (w->failed) return begin(w, err);
    if (!w->txn) return STERNA_OK;
    int code = stn_lmdb_thread_commit(w->thread, w->txn); /* frees it in any case */
    w->txn = NULL;
    stn_lmdb_write_leave(w->db);
    if (code == MDB_SUCCESS) return STERNA_OK;
    return fail(w, stn_lmdb_fail(w->db, cause_of(w, code), "cannot be written", err));
}

static size_t pages_of(const struct stn_lmdb_writer *w, size_t bytes) {
    return bytes / w->db->page_bytes + 1 + PAGES_A_VALUE;
}

/* Begins a transaction whose map has room for a value of `bytes` more. */
static int make_room(struct stn_lmdb_writer *w, size_t bytes, struct sterna_error *err) {
    size_t more = pages_of(w, bytes) * w->db->page_bytes;
    int rc = begin(w, err);
    if (rc == STERNA_OK && w->gathered_bytes > 0 && w->gathered_bytes + more > COMMIT_BYTES) {
        rc = stn_lmdb_writer_commit(w, err);
        if (rc == STERNA_OK) rc = begin(w, err);
    }
    size_t spare = (size_t)PAGES_A_TRANSACTION * w->db->page_bytes + more;
    while (rc == STERNA_OK && w->used_bytes + w->gathered_bytes + spare > w->map_bytes) {
        rc = stn_lmdb_writer_commit(w, err);
        if (rc == STERNA_OK)
            rc = stn_lmdb_grow(w->db, w->used_bytes + w->gathered_bytes + spare, err);
        if (rc < 0) return fail(w, rc);
        rc = begin(w, err);
    }
    w->gathered_bytes += rc == STERNA_OK ? more : 0;
    return rc;
}

int stn_lmdb_writer_open(struct stn_lmdb_writer **out, struct stn_lmdb *db,
                         struct sterna_error *err) {
    *out = NULL;
    if (db->read_only)
        return stn_fail(err, STERNA_EREADONLY, "%s: cannot be written by this user", db->path);
    if (atomic_exchange(&db->has_writer, 1))
        return stn_fail(err, STERNA_EBUSY, "%s: this process is writing it already", db->path);
    struct stn_lmdb_writer *w = stn_array(1, sizeof *w);
    int rc = w ? stn_lmdb_thread_open(&w->thread, err) : stn_fail_memory(err, "a writer");
    if (rc < 0) {
        free(w);
        atomic_store(&db->has_writer, 0);
        return rc;
    }
    w->db = db;
    *out = w;
    return STERNA_OK;
}

int stn_lmdb_writer_find(struct stn_lmdb_writer *w, const uint8_t id[16], uint8_t field,
                         struct stn_value_header *out, struct sterna_error *err) {
    uint8_t bytes[STN_LMDB_KEY_BYTES];
    stn_lmdb_key(bytes, id, field);
    MDB_val key = {sizeof bytes, bytes}, value;
    int rc = begin(w, err);
    if (rc < 0) return rc;
    trim_now_and_then(w);
    int code = mdb_get(w->txn, w->db->dbi, &key, &value);
    if (code == MDB_NOTFOUND)
        return stn_lmdb_fail_value(w->db, STERNA_ENOTFOUND, id, field, "there is no such value",
                                   err);
    if (code != MDB_SUCCESS) return stn_lmdb_fail(w->db, code, "cannot be searched", err);
    if (value.mv_size < STN_VALUE_HEADER_BYTES)
        return stn_lmdb_fail_value(w->db, STERNA_EFORMAT, id, field, "the value has no header",
                                   err);
    return stn_lmdb_header_parse(w->db, id, field, value.mv_data, value.mv_size, out, err);
}

int stn_lmdb_writer_put(struct stn_lmdb_writer *w, const uint8_t id[16], uint8_t field,
                        const void *data, size_t bytes, uint32_t crc, struct sterna_error *err) {
    if (bytes > STN_LMDB_VALUE_MAX) {
        char text[96];
        snprintf(text, sizeof text, "%zu bytes are more than the %llu that a value may have", bytes,
                 (unsigned long long)STN_LMDB_VALUE_MAX);
        return stn_lmdb_fail_value(w->db, STERNA_EINVAL, id, field, text, err);
    }
    uint8_t key_bytes[STN_LMDB_KEY_BYTES];
    stn_lmdb_key(key_bytes, id, field);
    MDB_val key = {sizeof key_bytes, key_bytes};
    MDB_val value = {STN_VALUE_HEADER_BYTES + bytes, NULL};
    int rc = make_room(w, value.mv_size, err);
    if (rc < 0) return rc;
    int code = mdb_put(w->txn, w->db->dbi, &key, &value, MDB_RESERVE);
    if (code != MDB_SUCCESS)
        return fail(w, stn_lmdb_fail(w->db, cause_of(w, code), "cannot be written", err));
    struct stn_writer to = {value.mv_data, value.mv_size, 0};
    stn_put_u8(&to, STN_VALUE_VERSION);
    stn_put_u8(&to, 0);
    stn_put_u16(&to, 0);
    stn_put_u32(&to, crc);
    stn_put_u64(&to, bytes);
    stn_put_bytes(&to, data, bytes);
    return STERNA_OK;
}

int stn_lmdb_writer_remove(struct stn_lmdb_writer *w, const uint8_t id[16], uint8_t field,
                           struct sterna_error *err) {
    uint8_t bytes[STN_LMDB_KEY_BYTES];
    stn_lmdb_key(bytes, id, field);
    MDB_val key = {sizeof bytes, bytes};
    int rc = make_room(w, 0, err);
    if (rc < 0) return rc;
    int code = mdb_del(w->txn, w->db->dbi, &key, NULL);
    if (code == MDB_SUCCESS) return STERNA_OK;
    if (code == MDB_NOTFOUND)
        return stn_lmdb_fail_value(w->db, STERNA_ENOTFOUND, id, field, "there is no such value",
                                   err);
    return fail(w, stn_lmdb_fail(w->db, cause_of(w, code), "cannot be written", err));
}

void stn_lmdb_writer_close(struct stn_lmdb_writer **w) {
    struct stn_lmdb_writer *gone = *w;
    *w = NULL;
    if (!gone) return;
    if (gone->db->pid == getpid()) { /* a forked child must leave the transaction alone */
        drop(gone);
        stn_lmdb_thread_close(&gone->thread);
        atomic_store(&gone->db->has_writer, 0);
    }
    free(gone);
}
