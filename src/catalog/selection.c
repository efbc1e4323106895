/* An open selection: a file mapped read-only, whose every number was checked against its size. */
#include "catalog/selection.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "catalog/layout.h"

#define COPY_BYTES ((size_t)256 << 10)

struct sterna_selection {
    _Atomic unsigned refs;
    int fd; /* for saving a copy: reading reports what a mapping would die of */
    const uint8_t *map;
    size_t map_bytes;
    struct sterna_selection_info info;
    char *where;
    char **columns;
    struct stn_section *sections; /* a copy: the file may change behind our back */
};

static const uint8_t *section(const sterna_selection *s, size_t i) {
    return s->map + s->sections[i].offset;
}

/* ---- opening ---- */

static int bad(struct sterna_error *err, const char *name, const char *what) {
    return stn_fail(err, STERNA_EFORMAT, "%s: damaged selection file: %s", name, what);
}

static int map_file(sterna_selection *s, const char *name, struct sterna_error *err) {
    struct stat st;
    if (fstat(s->fd, &st) < 0) return stn_fail_sys(err, STERNA_EIO, "%s", name);
    if (!S_ISREG(st.st_mode))
        return stn_fail(err, STERNA_EFORMAT, "%s: no selection file: not a plain file", name);
    if (st.st_size < STN_SELECTION_FIXED_BYTES)
        return stn_fail(err, STERNA_EFORMAT, "%s: no selection file, or cut short: %lld bytes",
                        name, (long long)st.st_size);
    s->map_bytes = (size_t)st.st_size;
    void *map = mmap(NULL, s->map_bytes, PROT_READ, MAP_SHARED, s->fd, 0);
    if (map == MAP_FAILED) {
        s->map_bytes = 0;
        return stn_fail_sys(err, errno == ENOMEM ? STERNA_ENOMEM : STERNA_EIO,
                            "%s: cannot be mapped", name);
    }
    s->map = map;
    return STERNA_OK;
}

/* Magic, version, length and checksum of the header; the cursor is left behind them. */
static int check_start(const sterna_selection *s, struct stn_cursor *c, const char *name,
                       struct sterna_error *err) {
    const uint8_t *magic = stn_get_bytes(c, 8);
    if (!magic || memcmp(magic, STN_SELECTION_MAGIC, 8) != 0)
        return stn_fail(err, STERNA_EFORMAT, "%s: no selection file", name);
    uint32_t version = stn_get_u32(c), header_bytes = stn_get_u32(c);
    if (version != STN_SELECTION_VERSION)
        return stn_fail(err, STERNA_EFORMAT,
                        "%s: selection of format version %u, this program reads version %d", name,
                        version, STN_SELECTION_VERSION);
    if (header_bytes < STN_SELECTION_FIXED_BYTES + 4 || header_bytes > s->map_bytes)
        return bad(err, name, "its header is longer than the file: was it cut short?");
    struct stn_cursor sum = stn_cursor(s->map + header_bytes - 4, 4);
    if (stn_crc32c(0, s->map, header_bytes - 4) != stn_get_u32(&sum))
        return bad(err, name, "checksum of the header differs");
    c->left = header_bytes - 4 - (size_t)(c->at - s->map);
    return STERNA_OK;
}

static int take_numbers(sterna_selection *s, struct stn_cursor *c, uint32_t *where_bytes,
                        const char *name, struct sterna_error *err) {
    struct sterna_selection_info *info = &s->info;
    memcpy(info->dataset_id, stn_get_bytes(c, 16), 16); /* within the 112 bytes known to be there */
    info->run = stn_get_u64(c);
    info->n = stn_get_u64(c);
    info->n_bytes = stn_get_u64(c);
    info->max_bytes = stn_get_u32(c);
    info->n_fields = stn_get_u32(c);
    info->n_columns = stn_get_u32(c);
    *where_bytes = stn_get_u32(c);
    memcpy(info->hash, stn_get_bytes(c, STERNA_HASH_BYTES), STERNA_HASH_BYTES);
    uint64_t file_bytes = stn_get_u64(c);
    if (file_bytes != s->map_bytes)
        return stn_fail(err, STERNA_EFORMAT,
                        "%s: damaged selection file: %zu bytes long, its header says %llu", name,
                        s->map_bytes, (unsigned long long)file_bytes);
    if (info->n > s->map_bytes / 16) return bad(err, name, "more samples than the file can hold");
    if (info->n_fields > STN_SELECTION_FIELDS_MAX || info->n_columns > STN_SELECTION_COLUMNS_MAX)
        return bad(err, name, "too many fields or columns");
    return STERNA_OK;
}

static char *take_text(struct stn_cursor *c, size_t bytes) {
    const uint8_t *from = stn_get_bytes(c, bytes);
    char *text = calloc(1, from ? bytes + 1 : 1);
    if (text && from && bytes) memcpy(text, from, bytes);
    return text;
}

static int take_names(sterna_selection *s, struct stn_cursor *c, uint32_t where_bytes,
                      const char *name, struct sterna_error *err) {
    s->where = take_text(c, where_bytes);
    s->columns = stn_array(s->info.n_columns, sizeof *s->columns);
    if (!s->where || !s->columns) return stn_fail_memory(err, name);
    s->info.where = s->where;
    for (uint32_t i = 0; i < s->info.n_columns; i++) {
        s->columns[i] = take_text(c, stn_get_u32(c));
        if (!s->columns[i]) return stn_fail_memory(err, name);
    }
    return STERNA_OK;
}

static int take_sections(sterna_selection *s, struct stn_cursor *c, const char *name,
                         struct sterna_error *err) {
    const struct sterna_selection_info *info = &s->info;
    size_t n = stn_section_count(info->n_fields, info->n_columns);
    uint64_t start = (uint64_t)(c->at - s->map), end = s->map_bytes - STN_SELECTION_TRAILER_BYTES;
    s->sections = stn_array(n, sizeof *s->sections);
    if (!s->sections) return stn_fail_memory(err, name);
    for (size_t i = 0; i < n; i++) {
        struct stn_section *to = &s->sections[i];
        to->offset = stn_get_u64(c);
        to->bytes = stn_get_u64(c);
        size_t row_bytes = stn_section_row_bytes(info->n_fields, i);
        if (to->offset < start || to->offset > end || to->offset % 64 != 0 ||
            to->bytes > end - to->offset || (row_bytes > 0 && to->bytes != info->n * row_bytes))
            return bad(err, name, "a section lies outside the file");
    }
    return c->overrun || c->left > 0 ? bad(err, name, "its header does not add up") : STERNA_OK;
}

/* By read(), not through the map: a failing disk is an error then, and no signal. */
static int check_sum(const sterna_selection *s, const char *name, struct sterna_error *err) {
    uint8_t *buf = malloc(COPY_BYTES);
    if (!buf) return stn_fail_memory(err, name);
    uint32_t crc = 0;
    int rc = STERNA_OK;
    size_t end = s->map_bytes - STN_SELECTION_TRAILER_BYTES;
    for (size_t at = 0; at < end && rc == STERNA_OK;) {
        size_t bytes = STN_MIN(end - at, COPY_BYTES);
        rc = stn_pread_all(s->fd, buf, bytes, (off_t)at);
        if (rc < 0) stn_fail_sys(err, rc, "%s: cannot be read", name);
        if (rc == STERNA_OK) crc = stn_crc32c(crc, buf, bytes);
        at += bytes;
    }
    if (rc == STERNA_OK) rc = stn_pread_all(s->fd, buf, STN_SELECTION_TRAILER_BYTES, (off_t)end);
    if (rc < 0) stn_fail_sys(err, rc, "%s: cannot be read", name);
    struct stn_cursor sum = stn_cursor(buf, STN_SELECTION_TRAILER_BYTES);
    if (rc == STERNA_OK && stn_get_u32(&sum) != crc) rc = bad(err, name, "checksum differs");
    free(buf);
    return rc;
}

static int read_file(sterna_selection *s, const char *name, int verify, struct sterna_error *err) {
    int rc = map_file(s, name, err);
    if (rc < 0) return rc;
    struct stn_cursor c = stn_cursor(s->map, s->map_bytes);
    uint32_t where_bytes = 0;
    rc = check_start(s, &c, name, err);
    if (rc == STERNA_OK) rc = take_numbers(s, &c, &where_bytes, name, err);
    if (rc == STERNA_OK) rc = take_names(s, &c, where_bytes, name, err);
    if (rc == STERNA_OK) rc = take_sections(s, &c, name, err);
    if (rc == STERNA_OK && verify) rc = check_sum(s, name, err);
    return rc;
}

int stn_selection_open_fd(sterna_selection **out, int fd, const char *name, int verify,
                          struct sterna_error *err) {
    *out = NULL;
    sterna_selection *s = calloc(1, sizeof *s);
    if (!s) {
        close(fd);
        return stn_fail_memory(err, name);
    }
    s->fd = fd;
    atomic_init(&s->refs, 1);
    int rc = read_file(s, name, verify, err);
    if (rc < 0)
        sterna_selection_close(&s);
    else
        *out = s;
    return rc;
}

int stn_selection_open(sterna_selection **out, const char *path, struct sterna_error *err) {
    *out = NULL;
    int fd = stn_open(path, O_RDONLY | O_NONBLOCK, 0); /* a pipe must not hold us up */
    if (fd < 0) {
        int missing = errno == ENOENT || errno == ENOTDIR;
        return stn_fail_sys(err, missing ? STERNA_ENOTFOUND : STERNA_EIO, "%s", path);
    }
    return stn_selection_open_fd(out, fd, path, 1, err);
}

sterna_selection *sterna_selection_retain(sterna_selection *s) {
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    return s;
}

void sterna_selection_close(sterna_selection **selection) {
    sterna_selection *s = selection ? *selection : NULL;
    if (!s) return;
    *selection = NULL;
    if (atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) > 1) return;
    for (uint32_t i = 0; s->columns && i < s->info.n_columns; i++) free(s->columns[i]);
    free(s->columns);
    free(s->where);
    free(s->sections);
    if (s->map_bytes) munmap((void *)(uintptr_t)s->map, s->map_bytes);
    close(s->fd);
    free(s);
}

/* ---- what it holds ---- */

void sterna_selection_info(const sterna_selection *s, struct sterna_selection_info *out) {
    *out = s->info;
}

const uint8_t (*sterna_selection_ids(const sterna_selection *s))[STERNA_ID_BYTES] {
    return (const uint8_t(*)[STERNA_ID_BYTES])section(s, 0);
}

const uint32_t *sterna_selection_lengths(const sterna_selection *s, uint32_t f) {
    if (f >= s->info.n_fields) return NULL;
    return (const uint32_t *)(const void *)section(s, stn_section_lengths(f));
}

const int64_t *sterna_selection_labels(const sterna_selection *s) {
    return (const int64_t *)(const void *)section(s, stn_section_labels(s->info.n_fields));
}

const char *sterna_selection_column_name(const sterna_selection *s, uint32_t c) {
    return c < s->info.n_columns ? s->columns[c] : NULL;
}

/* A text's place is checked here: looking at all of them when the file is opened would take the
 * time, and the memory, that a map is there to save. */
static void take_heap_text(const sterna_selection *s, size_t texts, uint64_t at,
                           struct sterna_value *out) {
    uint64_t bytes = s->sections[texts].bytes;
    if (at > bytes || bytes - at < 4) return;
    struct stn_cursor c = stn_cursor(section(s, texts) + at, (size_t)(bytes - at));
    uint32_t length = stn_get_u32(&c);
    const uint8_t *text = stn_get_bytes(&c, length);
    if (!text) return;
    out->type = STERNA_TEXT;
    out->text = (const char *)text;
    out->text_bytes = length;
}

void sterna_selection_value(const sterna_selection *s, uint32_t c, uint64_t i,
                            struct sterna_value *out) {
    *out = (struct sterna_value){.type = STERNA_NULL};
    if (c >= s->info.n_columns || i >= s->info.n) return;
    size_t first = stn_section_column(s->info.n_fields, c);
    uint8_t type = section(s, first)[i];
    uint64_t payload;
    memcpy(&payload, section(s, first + 1) + 8 * i, sizeof payload);
    if (type == STERNA_INT) {
        out->type = STERNA_INT;
        out->i = (int64_t)payload;
    } else if (type == STERNA_REAL) {
        out->type = STERNA_REAL;
        memcpy(&out->r, &payload, sizeof out->r);
    } else if (type == STERNA_TEXT) {
        take_heap_text(s, first + 2, payload, out);
    }
}

/* ---- saving ---- */

static int copy_to(const sterna_selection *s, int to) {
    uint8_t *buf = malloc(COPY_BYTES);
    if (!buf) return STERNA_ENOMEM;
    int rc = STERNA_OK;
    for (size_t at = 0; at < s->map_bytes && rc == STERNA_OK; at += COPY_BYTES) {
        size_t bytes = STN_MIN(s->map_bytes - at, COPY_BYTES);
        rc = stn_pread_all(s->fd, buf, bytes, (off_t)at);
        if (rc == STERNA_OK) rc = stn_write_all(to, buf, bytes);
    }
    free(buf);
    return rc;
}

int sterna_selection_save(sterna_selection *s, const char *path, struct sterna_error *err) {
    stn_error_clear(err);
    struct stn_new_file file;
    int rc = stn_new_file_open(&file, path, err);
    if (rc < 0) return rc;
    rc = copy_to(s, file.fd);
    if (rc == STERNA_OK) return stn_new_file_commit(&file, err);
    if (rc == STERNA_ENOMEM)
        stn_fail_memory(err, path);
    else
        stn_fail_sys(err, rc, "%s: cannot be written", path);
    stn_new_file_close(&file);
    return rc;
}
