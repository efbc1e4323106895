/* Looks at an LMDB data file that may come from anywhere, before LMDB maps it and believes it.
 *
 * Owns nothing; reads with pread only. It knows LMDB's file layout (data version 1, 64-bit,
 * little-endian): a page begins with u64 page number, u16 pad, u16 flags, u16 lower, u16 upper
 * (or u32 pages of a run); pages 0 and 1 are the two meta pages, the newer of which counts. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "base/file.h"
#include "source/lmdb_env.h"

enum {
    PAGE_HEADER_BYTES = 16,
    META_BYTES = 136,
    PAGE_BYTES_MIN = 512,
    PAGE_BYTES_MAX = 65536,
    DEPTH_MAX = 32, /* LMDB's cursor stack */
    PAGE_BRANCH = 0x01,
    PAGE_LEAF = 0x02,
    PAGE_META = 0x08,
    NODE_HEADER_BYTES = 8,
    NODE_RUN = 0x01, /* the value lies on pages of its own */
    ATTEMPTS = 8
};
#define LMDB_MAGIC UINT32_C(0xBEEFC0DE)
#define LMDB_DATA_VERSION 1
#define NO_ROOT UINT64_MAX

struct meta {
    uint64_t page_bytes, last_page, txn;
    uint64_t roots[2]; /* of the free list and of the main table */
    unsigned depths[2];
};

struct data_file {
    int fd;
    const char *path;
    uint64_t bytes; /* size, taken after the meta pages: it only grows */
    struct meta meta;
    uint64_t visited; /* pages walked */
};

static int foreign(const struct data_file *f, struct sterna_error *err) {
    return stn_fail(err, STERNA_EFORMAT,
                    "%s is not a sterna store: no LMDB data file of a 64-bit little-endian machine",
                    f->path);
}

static int cut_short(const struct data_file *f, uint64_t need_bytes, struct sterna_error *err) {
    return stn_fail(err, STERNA_EFORMAT,
                    "%s is truncated: %llu bytes, its pages need %llu; restore it from a copy",
                    f->path, (unsigned long long)f->bytes, (unsigned long long)need_bytes);
}

static int read_at(const struct data_file *f, void *buf, size_t bytes, uint64_t offset,
                   struct sterna_error *err) {
    int rc = stn_pread_all(f->fd, buf, bytes, (off_t)offset);
    if (rc == STERNA_EFORMAT) return cut_short(f, offset + bytes, err);
    if (rc < 0) stn_fail_sys(err, rc, "%s: cannot be read", f->path);
    return rc;
}

static int size_of(struct data_file *f, struct sterna_error *err) {
    struct stat st;
    if (fstat(f->fd, &st) < 0) return stn_fail_sys(err, STERNA_EIO, "%s", f->path);
    if (!S_ISREG(st.st_mode)) return foreign(f, err);
    f->bytes = (uint64_t)st.st_size;
    return STERNA_OK;
}

static int meta_read(const struct data_file *f, uint64_t offset, struct meta *out,
                     struct sterna_error *err) {
    uint8_t raw[PAGE_HEADER_BYTES + META_BYTES] = {0};
    size_t there = offset < f->bytes ? (size_t)STN_MIN(f->bytes - offset, sizeof raw) : 0;
    int rc = read_at(f, raw, there, offset, err);
    if (rc < 0) return rc;
    struct stn_cursor c = stn_cursor(raw, sizeof raw);
    stn_get_bytes(&c, 10);
    unsigned flags = stn_get_u16(&c);
    stn_get_bytes(&c, 4);
    uint32_t magic = stn_get_u32(&c);
    if (there < sizeof raw && (offset > 0 || magic == LMDB_MAGIC))
        return cut_short(f, offset + sizeof raw, err);
    if (magic != LMDB_MAGIC || !(flags & PAGE_META)) return foreign(f, err);
    uint32_t version = stn_get_u32(&c);
    if (version != LMDB_DATA_VERSION)
        return stn_fail(err, STERNA_EFORMAT, "%s has LMDB data version %u, this build reads %d",
                        f->path, version, LMDB_DATA_VERSION);
    stn_get_bytes(&c, 16); /* fixed address, map size */
    *out = (struct meta){0};
    for (int tree = 0; tree < 2; tree++) {
        uint32_t pad = stn_get_u32(&c);
        if (tree == 0) out->page_bytes = pad; /* LMDB keeps the page size there */
        stn_get_u16(&c);
        out->depths[tree] = stn_get_u16(&c);
        stn_get_bytes(&c, 32);
        out->roots[tree] = stn_get_u64(&c);
    }
    out->last_page = stn_get_u64(&c);
    out->txn = stn_get_u64(&c);
    return STERNA_OK;
}

static int page_size_plausible(const struct meta *m) {
    return m->page_bytes >= PAGE_BYTES_MIN && m->page_bytes <= PAGE_BYTES_MAX &&
           (m->page_bytes & (m->page_bytes - 1)) == 0;
}

static int meta_plausible(const struct meta *m) {
    if (!page_size_plausible(m)) return 0;
    if (m->last_page < 1 || m->last_page >= (uint64_t)INT64_MAX / m->page_bytes - 1) return 0;
    for (int tree = 0; tree < 2; tree++) {
        if (m->depths[tree] > DEPTH_MAX) return 0;
        if (m->roots[tree] == NO_ROOT) continue;
        if (m->roots[tree] < 2 || m->roots[tree] > m->last_page || m->depths[tree] == 0) return 0;
    }
    return 1;
}

/* Both must be meta pages, as LMDB wants it; the newer one counts, the first if none is newer. The
 * other one's tables may be anything: a commit that the disk refused leaves its own there. */
static int metas_read(struct data_file *f, struct sterna_error *err) {
    struct meta one, two;
    int rc = meta_read(f, 0, &one, err);
    if (rc < 0) return rc;
    if (!page_size_plausible(&one)) return foreign(f, err);
    rc = meta_read(f, one.page_bytes, &two, err);
    if (rc < 0) return rc;
    f->meta = two.txn > one.txn ? two : one;
    if (two.page_bytes != one.page_bytes || !meta_plausible(&f->meta)) return foreign(f, err);
    rc = size_of(f, err);
    if (rc == STERNA_OK && f->bytes < 2 * one.page_bytes)
        rc = cut_short(f, (f->meta.last_page + 1) * one.page_bytes, err);
    return rc;
}

static int run_inside(const struct data_file *f, uint64_t page, uint64_t pages,
                      struct sterna_error *err) {
    uint64_t end = f->bytes / f->meta.page_bytes;
    if (page < end && pages <= end - page) return STERNA_OK;
    return cut_short(f, (f->meta.last_page + 1) * f->meta.page_bytes, err);
}

static int damaged(const struct data_file *f, uint64_t page, struct sterna_error *err) {
    return stn_fail(err, STERNA_EFORMAT, "%s is damaged: page %llu is not what it should be",
                    f->path, (unsigned long long)page);
}

static int walk(struct data_file *f, uint64_t page, unsigned depth, struct sterna_error *err);

static int walk_nodes(struct data_file *f, uint64_t page, const uint8_t *raw, unsigned depth,
                      struct sterna_error *err) {
    size_t page_bytes = (size_t)f->meta.page_bytes;
    struct stn_cursor head = stn_cursor(raw, page_bytes);
    uint64_t number = stn_get_u64(&head);
    stn_get_u16(&head);
    unsigned flags = stn_get_u16(&head), lower = stn_get_u16(&head);
    int leaf = (flags & PAGE_LEAF) != 0;
    if (number != page || leaf == ((flags & PAGE_BRANCH) != 0) || leaf != (depth == 1) ||
        lower < PAGE_HEADER_BYTES || lower > page_bytes)
        return damaged(f, page, err);
    stn_get_u16(&head);
    for (unsigned i = 0; i < (lower - PAGE_HEADER_BYTES) / 2; i++) {
        unsigned at = stn_get_u16(&head);
        if (at > page_bytes - NODE_HEADER_BYTES) return damaged(f, page, err);
        struct stn_cursor node = stn_cursor(raw + at, page_bytes - at);
        uint64_t low = stn_get_u32(&node); /* bytes of the value, or the child's page */
        uint64_t node_flags = stn_get_u16(&node);
        size_t key_bytes = stn_get_u16(&node);
        int rc = STERNA_OK;
        if (!leaf) {
            rc = walk(f, low | node_flags << 32, depth - 1, err);
        } else if (node_flags & NODE_RUN) {
            stn_get_bytes(&node, key_bytes);
            uint64_t first = stn_get_u64(&node);
            if (node.overrun) return damaged(f, page, err);
            rc = run_inside(f, first, (PAGE_HEADER_BYTES - 1 + low) / page_bytes + 1, err);
        }
        if (rc < 0) return rc;
    }
    return STERNA_OK;
}

static int walk(struct data_file *f, uint64_t page, unsigned depth, struct sterna_error *err) {
    /* A page stands in one place of one tree, so more steps than the file has pages are a loop. */
    if (depth == 0 || f->visited++ > f->bytes / f->meta.page_bytes) return damaged(f, page, err);
    int rc = run_inside(f, page, 1, err);
    if (rc < 0) return rc;
    uint8_t *raw = malloc((size_t)f->meta.page_bytes);
    if (!raw) return stn_fail_memory(err, f->path);
    rc = read_at(f, raw, (size_t)f->meta.page_bytes, page * f->meta.page_bytes, err);
    if (rc == STERNA_OK) rc = walk_nodes(f, page, raw, depth, err);
    free(raw);
    return rc;
}

/* A healthy file may be shorter than its last page: LMDB does not write pages that a transaction
 * both took and gave back. So it is truncated only if a page in use is missing. */
static int pages_present(struct data_file *f, struct sterna_error *err) {
    if ((f->meta.last_page + 1) * f->meta.page_bytes <= f->bytes) return STERNA_OK;
    f->visited = 0;
    for (int tree = 0; tree < 2; tree++) {
        if (f->meta.roots[tree] == NO_ROOT) continue;
        int rc = walk(f, f->meta.roots[tree], f->meta.depths[tree], err);
        if (rc < 0) return rc;
    }
    return STERNA_OK;
}

/* 1 in *zero if there is nothing but zeros from `at` on. */
static int is_zero(const struct data_file *f, uint64_t at, int *zero, struct sterna_error *err) {
    uint8_t raw[4096];
    *zero = f->bytes <= 2 * PAGE_BYTES_MAX;
    for (; *zero && at < f->bytes; at += sizeof raw) {
        size_t n = (size_t)STN_MIN(f->bytes - at, sizeof raw);
        int rc = read_at(f, raw, n, at, err);
        if (rc < 0) return rc;
        for (size_t i = 0; i < n; i++) *zero = *zero && raw[i] == 0;
    }
    return STERNA_OK;
}

/* LMDB's first write is the two meta pages, which name no other page: a process killed in it leaves
 * the first of them, a machine that lost power perhaps only their length. */
static int is_blank(const struct data_file *f, int *blank, struct sterna_error *err) {
    struct meta first = {0};
    int rc = is_zero(f, 0, blank, err);
    if (rc < 0 || *blank || f->bytes < PAGE_HEADER_BYTES + META_BYTES) return rc;
    if (meta_read(f, 0, &first, NULL) < 0 || !meta_plausible(&first)) return STERNA_OK;
    int nothing = first.last_page == 1 && first.roots[0] == NO_ROOT && first.roots[1] == NO_ROOT;
    if (!nothing || f->bytes < first.page_bytes) return STERNA_OK;
    return is_zero(f, first.page_bytes, blank, err);
}

int stn_lmdb_check_file(int fd, const char *path, int *empty, struct sterna_error *err) {
    struct data_file f = {.fd = fd, .path = path};
    int rc = size_of(&f, err);
    if (rc == STERNA_OK) rc = is_blank(&f, empty, err);
    if (rc < 0 || *empty) return rc;
    struct sterna_error verdict = {0};
    for (int i = 0; i < ATTEMPTS; i++) { /* again while a writer moves things under the walk */
        uint64_t seen = f.meta.txn;
        struct sterna_error now = {0};
        int metas = metas_read(&f, &now);
        if (metas == STERNA_OK && i > 0 && f.meta.txn == seen) break; /* it stands still */
        rc = metas == STERNA_OK ? pages_present(&f, &now) : metas;
        verdict = now;
        if (metas < 0 || rc == STERNA_OK || rc == STERNA_ENOMEM) break;
    }
    if (rc < 0 && err && err->code >= 0) *err = verdict;
    return rc;
}
