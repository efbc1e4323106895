/* What the embedded store's reader, writer and registry share: messages, the gate before the map,
 * read transactions, and where a value lies in the file. It opens and closes nothing. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/bytes.h"
#include "base/file.h"
#include "source/lmdb_env.h"
#include "sterna/store.h"

#define MAP_SPARE_BYTES ((size_t)64 << 20)
#define MAP_UNIT_BYTES ((size_t)1 << 16) /* a multiple of every page size */
#define LEAF_PAGE_FLAG 0x02
#define MAP_RESIZE_ATTEMPTS 16 /* another process may grow the file again and again */

#ifdef __SANITIZE_THREAD__ /* leaves a program 1.5 TiB of addresses, and some tests open several   \
                            */
size_t stn_lmdb_map_bytes = (size_t)1 << 34;
#else
size_t stn_lmdb_map_bytes = (size_t)1 << 40;
#endif

/* ---- messages ---- */

int stn_lmdb_fail_at(const char *path, int lmdb_code, const char *what, struct sterna_error *err) {
    errno = lmdb_code > 0 ? lmdb_code : 0;
    switch (lmdb_code) {
    case ENOMEM:
        return stn_fail(err, STERNA_ENOMEM, "%s: %s: out of memory", path, what);
    case ENOSPC:
    case EDQUOT:
        return stn_fail_sys(err, STERNA_EIO,
                            "%s: %s: the disk is full; free some space and try again", path, what);
    case EACCES:
    case EPERM:
    case EROFS:
        return stn_fail_sys(err, STERNA_EREADONLY, "%s: %s", path, what);
    case MDB_MAP_FULL:
        return stn_fail(err, STERNA_ENOMEM, "%s: %s: no address space for a larger map (ulimit -v)",
                        path, what);
    case MDB_READERS_FULL:
        return stn_fail(err, STERNA_EBUSY, "%s: %s: already read by %d threads of all processes",
                        path, what, STN_LMDB_READERS_MAX);
    case MDB_INVALID:
    case MDB_VERSION_MISMATCH:
        return stn_fail(err, STERNA_EFORMAT, "%s: %s: %s; is lock.mdb of another LMDB?", path, what,
                        mdb_strerror(lmdb_code));
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
        return stn_fail(err, STERNA_ECORRUPT, "%s: %s: the file is damaged (%s)", path, what,
                        mdb_strerror(lmdb_code));
    default:
        break;
    }
    if (lmdb_code > 0) return stn_fail_sys(err, STERNA_EIO, "%s: %s", path, what);
    return stn_fail(err, STERNA_EIO, "%s: %s: %s", path, what, mdb_strerror(lmdb_code));
}

int stn_lmdb_fail(const struct stn_lmdb *db, int lmdb_code, const char *what,
                  struct sterna_error *err) {
    return stn_lmdb_fail_at(db->path, lmdb_code, what, err);
}

int stn_lmdb_fail_value(const struct stn_lmdb *db, int code, const uint8_t id[16], uint8_t field,
                        const char *what, struct sterna_error *err) {
    char text[STERNA_ID_TEXT_BYTES];
    sterna_id_format(id, text);
    return stn_fail(err, code, "%s: sample %s, field %u: %s", db->path, text, field, what);
}

/* ---- the gate ---- */

int stn_lmdb_gate_init(struct stn_lmdb_gate *g) {
    if (pthread_mutex_init(&g->mutex, NULL) != 0) return STERNA_ENOMEM;
    if (pthread_cond_init(&g->changed, NULL) != 0) {
        pthread_mutex_destroy(&g->mutex);
        return STERNA_ENOMEM;
    }
    g->ready = 1;
    return STERNA_OK;
}

void stn_lmdb_gate_fini(struct stn_lmdb_gate *g) {
    if (!g->ready) return;
    pthread_cond_destroy(&g->changed);
    pthread_mutex_destroy(&g->mutex);
    g->ready = 0;
}

static void read_enter(struct stn_lmdb_gate *g) {
    pthread_mutex_lock(&g->mutex);
    /* A waiting remapper goes first, or a stream of readers would starve it. But while the writer
     * is inside, it cannot go at all, and the writer's thread may be the one that reads. */
    while (g->remapping || (g->remappers > 0 && !g->writing))
        pthread_cond_wait(&g->changed, &g->mutex);
    g->readers++;
    pthread_mutex_unlock(&g->mutex);
}

static void read_leave(struct stn_lmdb_gate *g) {
    pthread_mutex_lock(&g->mutex);
    if (--g->readers == 0 && g->remappers > 0) pthread_cond_broadcast(&g->changed);
    pthread_mutex_unlock(&g->mutex);
}

void stn_lmdb_write_enter(struct stn_lmdb *db) {
    struct stn_lmdb_gate *g = &db->gate;
    pthread_mutex_lock(&g->mutex);
    while (g->remapping || g->remappers > 0) pthread_cond_wait(&g->changed, &g->mutex);
    g->writing = 1;
    pthread_cond_broadcast(&g->changed);
    pthread_mutex_unlock(&g->mutex);
}

void stn_lmdb_write_leave(struct stn_lmdb *db) {
    struct stn_lmdb_gate *g = &db->gate;
    pthread_mutex_lock(&g->mutex);
    g->writing = 0;
    pthread_cond_broadcast(&g->changed);
    pthread_mutex_unlock(&g->mutex);
}

static void remap_enter(struct stn_lmdb_gate *g) {
    pthread_mutex_lock(&g->mutex);
    g->remappers++;
    while (g->remapping || g->readers > 0 || g->writing) pthread_cond_wait(&g->changed, &g->mutex);
    g->remapping = 1;
    pthread_mutex_unlock(&g->mutex);
}

static void remap_leave(struct stn_lmdb_gate *g) {
    pthread_mutex_lock(&g->mutex);
    g->remapping = 0;
    g->remappers--;
    pthread_cond_broadcast(&g->changed);
    pthread_mutex_unlock(&g->mutex);
}

/* ---- the map ---- */

/* Address space is what may be short (ulimit -v); it is asked for before LMDB does, because LMDB
 * gives up its old map first. */
static int address_space_left(size_t bytes) {
    void *p = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) return 0;
    munmap(p, bytes);
    return 1;
}

size_t stn_lmdb_map_size_for(size_t file_bytes) {
    const size_t sizes[] = {stn_lmdb_map_bytes, (size_t)1 << 38, (size_t)1 << 34,
                            2 * file_bytes + MAP_SPARE_BYTES, file_bytes + MAP_SPARE_BYTES / 4};
    for (size_t i = 0; i < STN_COUNT(sizes); i++)
        if (sizes[i] >= file_bytes && sizes[i] <= stn_lmdb_map_bytes &&
            address_space_left(sizes[i]))
            return sizes[i] / MAP_UNIT_BYTES * MAP_UNIT_BYTES;
    return file_bytes / MAP_UNIT_BYTES * MAP_UNIT_BYTES + MAP_UNIT_BYTES; /* LMDB will complain */
}

int stn_lmdb_grow(struct stn_lmdb *db, size_t need, struct sterna_error *err) {
    int code = MDB_SUCCESS;
    remap_enter(&db->gate);
    MDB_envinfo info;
    if (db->unmapped || mdb_env_info(db->env, &info) != 0) {
        code = MDB_PANIC;
    } else {
        need = STN_MAX(need, (info.me_last_pgno + 1) * db->page_bytes);
        const size_t sizes[] = {2 * need + MAP_SPARE_BYTES, need + MAP_SPARE_BYTES / 4, need};
        if (info.me_mapsize < need) code = MDB_MAP_FULL;
        for (size_t i = 0; code == MDB_MAP_FULL && i < STN_COUNT(sizes); i++) {
            size_t bytes = (sizes[i] / MAP_UNIT_BYTES + 1) * MAP_UNIT_BYTES;
            if (!address_space_left(bytes - info.me_mapsize)) continue;
            code = mdb_env_set_mapsize(db->env, bytes);
            db->unmapped = code != MDB_SUCCESS; /* LMDB has no map then, and cannot get one back */
        }
    }
    remap_leave(&db->gate);
    return code == MDB_SUCCESS ? STERNA_OK : stn_lmdb_fail(db, code, "cannot be mapped", err);
}

int stn_lmdb_read_begin(struct stn_lmdb *db, MDB_txn **txn, struct sterna_error *err) {
    int code = MDB_PANIC;
    for (int i = 0; i < MAP_RESIZE_ATTEMPTS; i++) {
        read_enter(&db->gate);
        code = MDB_PANIC;
        if (!db->unmapped)
            code = *txn ? mdb_txn_renew(*txn) : mdb_txn_begin(db->env, NULL, MDB_RDONLY, txn);
        if (code == MDB_SUCCESS) return STERNA_OK;
        read_leave(&db->gate);
        int dead = 0;
        if (code == MDB_MAP_RESIZED) {
            int rc = stn_lmdb_grow(db, 0, err);
            if (rc < 0) return rc;
        } else if (code != MDB_READERS_FULL || i > 0 || mdb_reader_check(db->env, &dead) != 0 ||
                   dead == 0) {
            break;
        }
    }
    return stn_lmdb_fail(db, code, "cannot be read", err);
}

void stn_lmdb_read_end(struct stn_lmdb *db, MDB_txn *txn) {
    mdb_txn_reset(txn);
    read_leave(&db->gate);
}

/* ---- values ---- */

int stn_lmdb_locate(struct stn_lmdb *db, MDB_cursor *cursor, const uint8_t id[16], uint8_t field,
                    struct stn_lmdb_span *out, struct sterna_error *err) {
    uint8_t wanted[STN_LMDB_KEY_BYTES];
    stn_lmdb_key(wanted, id, field);
    MDB_val key = {sizeof wanted, wanted}, value;
    int code = mdb_cursor_get(cursor, &key, &value, MDB_SET_KEY);
    if (code == MDB_NOTFOUND) return STERNA_ENOTFOUND;
    if (code != MDB_SUCCESS) return stn_lmdb_fail(db, code, "cannot be searched", err);
    /* The key lies in a leaf page, whose first 8 bytes are its number, and the value in the same
     * map. So the value's place in the file follows without a look at its pages. */
    uintptr_t page = (uintptr_t)key.mv_data & ~(uintptr_t)(db->page_bytes - 1);
    struct stn_cursor head = stn_cursor((const void *)page, 16);
    uint64_t number = stn_get_u64(&head);
    stn_get_u16(&head);
    uintptr_t at = (uintptr_t)value.mv_data - page;
    uint64_t offset = number * db->page_bytes + at;
    if (!(stn_get_u16(&head) & LEAF_PAGE_FLAG) || offset > INT64_MAX - UINT32_MAX)
        return stn_lmdb_fail_value(db, STERNA_ECORRUPT, id, field, "its page is damaged", err);
    if (value.mv_size < STN_VALUE_HEADER_BYTES)
        return stn_lmdb_fail_value(db, STERNA_EFORMAT, id, field, "the value has no header", err);
    int in_leaf = at < db->page_bytes && value.mv_size <= db->page_bytes - at;
    *out = (struct stn_lmdb_span){(off_t)offset, value.mv_size, in_leaf ? value.mv_data : NULL};
    return STERNA_OK;
}

int stn_lmdb_has_sample(struct stn_lmdb *db, MDB_cursor *cursor, const uint8_t id[16],
                        struct sterna_error *err) {
    uint8_t first[STN_LMDB_KEY_BYTES];
    stn_lmdb_key(first, id, 0);
    MDB_val key = {sizeof first, first}, value;
    int code = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    if (code == MDB_SUCCESS && key.mv_size == sizeof first && memcmp(key.mv_data, id, 16) == 0)
        return STERNA_OK;
    if (code != MDB_SUCCESS && code != MDB_NOTFOUND)
        return stn_lmdb_fail(db, code, "cannot be searched", err);
    char text[STERNA_ID_TEXT_BYTES];
    sterna_id_format(id, text);
    return stn_fail(err, STERNA_ENOTFOUND, "%s: there is no sample %s", db->path, text);
}

int stn_lmdb_header_parse(const struct stn_lmdb *db, const uint8_t id[16], uint8_t field,
                          const uint8_t header[STN_VALUE_HEADER_BYTES], size_t value_bytes,
                          struct stn_value_header *out, struct sterna_error *err) {
    struct stn_cursor c = stn_cursor(header, STN_VALUE_HEADER_BYTES);
    unsigned version = stn_get_u8(&c), flags = stn_get_u8(&c), zero = stn_get_u16(&c);
    out->crc = stn_get_u32(&c);
    out->bytes = stn_get_u64(&c);
    if (version != STN_VALUE_VERSION || flags || zero) {
        char text[96];
        snprintf(text, sizeof text, "format version %u (flags %u), this build reads version %d",
                 version, flags | zero << 8, STN_VALUE_VERSION);
        return stn_lmdb_fail_value(db, STERNA_EFORMAT, id, field, text, err);
    }
    if (out->bytes == value_bytes - STN_VALUE_HEADER_BYTES) return STERNA_OK;
    char text[96];
    snprintf(text, sizeof text, "damaged: the header says %llu bytes, the index %zu",
             (unsigned long long)out->bytes, value_bytes - STN_VALUE_HEADER_BYTES);
    return stn_lmdb_fail_value(db, STERNA_ECORRUPT, id, field, text, err);
}
