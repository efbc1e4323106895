/* Builds a selection file. Rows go to a spool as they come; once their number is known, the spool
 * is read again and taken apart into the file's sections. Memory does not grow with the rows. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/digest.h"
#include "base/file.h"
#include "catalog/layout.h"
#include "catalog/selection.h"
#include "catalog/spool.h"

#define CRC_BYTES ((size_t)256 << 10)
#define SECTION_BUFFERS_BYTES ((size_t)4 << 20) /* of all sections together */
#define TEXT_AGAIN 4 /* type of a value in the spool: the text of the row before */

struct text_column {
    char *last; /* text of the newest row */
    size_t last_bytes, cap;
    int any;
    uint64_t heap_bytes;
};

struct stn_selection_builder {
    char *dir;
    struct stn_selection_header header;
    char *where, **columns; /* what the header points at */
    struct text_column *texts;
    struct stn_spool spool;
    struct stn_sha256 *hash;
    uint8_t *row; /* scratch for id, lengths and label */
    struct stn_new_file file;
    int fd; /* of the file written: file.fd, or an unnamed one's */
};

/* ---- open and close ---- */

static int copy_spec(struct stn_selection_builder *b, const struct stn_selection_spec *spec) {
    struct stn_selection_header *h = &b->header;
    memcpy(h->dataset_id, spec->dataset_id, 16);
    h->run = spec->run;
    h->n_fields = spec->n_fields;
    b->where = strdup(spec->where ? spec->where : "");
    b->columns = stn_array(spec->n_columns, sizeof *b->columns);
    b->texts = stn_array(spec->n_columns, sizeof *b->texts);
    h->sections =
        stn_array(stn_section_count(spec->n_fields, spec->n_columns), sizeof *h->sections);
    b->row = malloc(16 + 4 * (size_t)spec->n_fields + 8);
    if (!b->where || !b->columns || !b->texts || !h->sections || !b->row) return STERNA_ENOMEM;
    h->n_columns = spec->n_columns;
    for (uint32_t i = 0; i < spec->n_columns; i++)
        if (!(b->columns[i] = strdup(spec->columns[i]))) return STERNA_ENOMEM;
    h->where = b->where;
    h->where_bytes = (uint32_t)strlen(b->where);
    h->columns = (const char *const *)b->columns;
    return STERNA_OK;
}

int stn_selection_builder_open(struct stn_selection_builder **out, const char *dir,
                               const struct stn_selection_spec *spec, struct sterna_error *err) {
    *out = NULL;
    if (spec->n_fields > STN_SELECTION_FIELDS_MAX || spec->n_columns > STN_SELECTION_COLUMNS_MAX)
        return stn_fail(err, STERNA_EINVAL, "a selection has at most %d fields and %d columns",
                        STN_SELECTION_FIELDS_MAX, STN_SELECTION_COLUMNS_MAX);
    struct stn_selection_builder *b = calloc(1, sizeof *b);
    if (!b) return stn_fail_memory(err, "a selection");
    b->fd = b->file.fd = b->spool.fd = -1;
    int rc = STERNA_ENOMEM;
    if (dir && !(b->dir = strdup(dir))) goto fail;
    rc = copy_spec(b, spec);
    if (rc == STERNA_OK) rc = stn_sha256_open(&b->hash);
    if (rc == STERNA_OK) rc = stn_spool_open(&b->spool, dir, err);
    if (rc < 0) goto fail;
    *out = b;
    return STERNA_OK;
fail:
    if (rc == STERNA_ENOMEM) stn_fail_memory(err, "a selection");
    stn_selection_builder_close(&b);
    return rc;
}

void stn_selection_builder_close(struct stn_selection_builder **builder) {
    struct stn_selection_builder *b = *builder;
    if (!b) return;
    uint8_t unused[STERNA_HASH_BYTES];
    stn_sha256_close(&b->hash, unused);
    stn_spool_close(&b->spool);
    if (b->fd >= 0 && b->fd != b->file.fd) close(b->fd);
    stn_new_file_close(&b->file);
    for (uint32_t i = 0; i < b->header.n_columns; i++) {
        free(b->columns[i]);
        free(b->texts[i].last);
    }
    free(b->columns);
    free(b->texts);
    free(b->header.sections);
    free(b->where);
    free(b->row);
    free(b->dir);
    free(b);
    *builder = NULL;
}

/* ---- rows into the spool ---- */

static int put_text(struct stn_selection_builder *b, struct text_column *t,
                    const struct sterna_value *value, struct sterna_error *err) {
    uint8_t head[5] = {TEXT_AGAIN};
    size_t bytes = value->text_bytes;
    if (bytes > UINT32_MAX)
        return stn_fail(err, STERNA_EINVAL, "a text of %zu bytes is too long for a selection",
                        bytes);
    if (t->any && t->last_bytes == bytes && (!bytes || memcmp(t->last, value->text, bytes) == 0))
        return stn_spool_put(&b->spool, head, 1);
    if (stn_grow((void **)&t->last, &t->cap, bytes, 1) < 0)
        return stn_fail_memory(err, "a selection");
    if (bytes) memcpy(t->last, value->text, bytes);
    t->last_bytes = bytes;
    t->any = 1;
    t->heap_bytes += 4 + (uint64_t)bytes;
    struct stn_writer w = {head, sizeof head, 0};
    stn_put_u8(&w, STERNA_TEXT);
    stn_put_u32(&w, (uint32_t)bytes);
    int rc = stn_spool_put(&b->spool, head, sizeof head);
    return rc < 0 ? rc : stn_spool_put(&b->spool, value->text, bytes);
}

static int put_value(struct stn_selection_builder *b, uint32_t column,
                     const struct sterna_value *value, struct sterna_error *err) {
    if (value->type == STERNA_TEXT) return put_text(b, &b->texts[column], value, err);
    uint8_t record[9];
    struct stn_writer w = {record, sizeof record, 0};
    stn_put_u8(&w, (uint8_t)value->type);
    if (value->type == STERNA_INT) stn_put_u64(&w, (uint64_t)value->i);
    if (value->type == STERNA_REAL) stn_put_bytes(&w, &value->r, 8);
    return stn_spool_put(&b->spool, record, w.used);
}

static void count_row(struct stn_selection_header *h, const uint32_t *lengths) {
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < h->n_fields; i++)
        if (lengths[i] < STERNA_LENGTH_UNKNOWN) bytes += lengths[i];
    h->n++;
    h->n_bytes += bytes;
    if (bytes > h->max_bytes) h->max_bytes = (uint32_t)STN_MIN(bytes, UINT32_MAX);
}

static int fail_spool(struct sterna_error *err, int rc) {
    if (err && err->code < 0) return rc; /* it is said already */
    return stn_fail_sys(err, rc, "temporary file of a selection: cannot be written");
}

int stn_selection_builder_add(struct stn_selection_builder *b, const uint8_t id[16],
                              const uint32_t *lengths, int64_t label,
                              const struct sterna_value *values, struct sterna_error *err) {
    struct stn_selection_header *h = &b->header;
    struct stn_writer w = {b->row, 16 + 4 * (size_t)h->n_fields + 8, 0};
    stn_put_bytes(&w, id, 16);
    for (uint32_t i = 0; i < h->n_fields; i++) stn_put_u32(&w, lengths[i]);
    stn_put_u64(&w, (uint64_t)label);
    int rc = stn_spool_put(&b->spool, b->row, w.used);
    for (uint32_t i = 0; i < h->n_columns && rc == STERNA_OK; i++)
        rc = put_value(b, i, &values[i], err);
    if (rc == STERNA_EIO) return fail_spool(err, rc);
    if (rc < 0) return rc;
    stn_sha256_add(b->hash, id, 16);
    count_row(h, lengths);
    return STERNA_OK;
}

/* ---- from the spool into sections ---- */

static int pwrite_all(int fd, const void *buf, size_t bytes, uint64_t offset) {
    for (size_t done = 0; done < bytes;) {
        ssize_t n = pwrite(fd, (const char *)buf + done, bytes - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return STERNA_EIO;
        done += (size_t)n;
    }
    return STERNA_OK;
}

struct section_writer {
    uint8_t *buf;
    size_t used;
    uint64_t offset; /* of buf in the file */
};

struct sections {
    int fd;
    size_t n, buf_bytes;
    struct section_writer *of;
    uint8_t *bufs;
};

static int section_flush(const struct sections *all, struct section_writer *w) {
    int rc = pwrite_all(all->fd, w->buf, w->used, w->offset);
    w->offset += w->used;
    w->used = 0;
    return rc;
}

static int section_put(const struct sections *all, size_t i, const void *data, size_t bytes) {
    struct section_writer *w = &all->of[i];
    for (const uint8_t *from = data; bytes > 0;) {
        if (w->used == all->buf_bytes) {
            int rc = section_flush(all, w);
            if (rc < 0) return rc;
        }
        size_t now = STN_MIN(bytes, all->buf_bytes - w->used);
        memcpy(w->buf + w->used, from, now);
        w->used += now;
        from += now;
        bytes -= now;
    }
    return STERNA_OK;
}

static int move_text(struct stn_selection_builder *b, const struct sections *all, size_t to) {
    uint8_t chunk[4096];
    int rc = stn_spool_get(&b->spool, chunk, 4);
    if (rc == STERNA_OK) rc = section_put(all, to, chunk, 4);
    struct stn_cursor c = stn_cursor(chunk, 4);
    for (size_t left = stn_get_u32(&c); left > 0 && rc == STERNA_OK;) {
        size_t now = STN_MIN(left, sizeof chunk);
        rc = stn_spool_get(&b->spool, chunk, now);
        if (rc == STERNA_OK) rc = section_put(all, to, chunk, now);
        left -= now;
    }
    return rc;
}

static int move_value(struct stn_selection_builder *b, const struct sections *all, uint32_t column,
                      uint64_t *last_text) {
    size_t first = stn_section_column(b->header.n_fields, column);
    uint8_t type, payload[8] = {0};
    int rc = stn_spool_get(&b->spool, &type, 1);
    if (rc < 0) return rc;
    if (type == STERNA_INT || type == STERNA_REAL) rc = stn_spool_get(&b->spool, payload, 8);
    if (type == STERNA_TEXT) {
        const struct section_writer *texts = &all->of[first + 2];
        *last_text = texts->offset + texts->used - b->header.sections[first + 2].offset;
        rc = move_text(b, all, first + 2);
    }
    if (type == TEXT_AGAIN) type = STERNA_TEXT;
    struct stn_writer w = {payload, sizeof payload, 0};
    if (type == STERNA_TEXT) stn_put_u64(&w, *last_text);
    if (rc == STERNA_OK) rc = section_put(all, first, &type, 1);
    return rc < 0 ? rc : section_put(all, first + 1, payload, 8);
}

static int move_row(struct stn_selection_builder *b, const struct sections *all,
                    uint64_t *last_texts) {
    const struct stn_selection_header *h = &b->header;
    const uint8_t *at = b->row + 16;
    int rc = stn_spool_get(&b->spool, b->row, 16 + 4 * (size_t)h->n_fields + 8);
    if (rc == STERNA_OK) rc = section_put(all, 0, b->row, 16);
    for (uint32_t i = 0; i < h->n_fields && rc == STERNA_OK; i++, at += 4)
        rc = section_put(all, stn_section_lengths(i), at, 4);
    if (rc == STERNA_OK) rc = section_put(all, stn_section_labels(h->n_fields), at, 8);
    for (uint32_t i = 0; i < h->n_columns && rc == STERNA_OK; i++)
        rc = move_value(b, all, i, &last_texts[i]);
    return rc;
}

static int write_sections(struct stn_selection_builder *b) {
    const struct stn_selection_header *h = &b->header;
    struct sections all = {.fd = b->fd, .n = stn_section_count(h->n_fields, h->n_columns)};
    all.buf_bytes = STN_MAX((size_t)1024, STN_MIN(SECTION_BUFFERS_BYTES / all.n, (size_t)64 << 10));
    all.of = stn_array(all.n, sizeof *all.of);
    all.bufs = stn_array(all.n, all.buf_bytes);
    uint64_t *last_texts = stn_array(h->n_columns, sizeof *last_texts);
    int rc = all.of && all.bufs && last_texts ? stn_spool_rewind(&b->spool) : STERNA_ENOMEM;
    for (size_t i = 0; i < all.n && rc == STERNA_OK; i++)
        all.of[i] = (struct section_writer){.buf = all.bufs + i * all.buf_bytes,
                                            .offset = h->sections[i].offset};
    for (uint64_t i = 0; i < h->n && rc == STERNA_OK; i++) rc = move_row(b, &all, last_texts);
    for (size_t i = 0; i < all.n && rc == STERNA_OK; i++) rc = section_flush(&all, &all.of[i]);
    free(all.of);
    free(all.bufs);
    free(last_texts);
    return rc;
}

static int write_header(const struct stn_selection_builder *b) {
    struct stn_writer w = {0};
    stn_selection_put_header(&w, &b->header);
    w = (struct stn_writer){malloc(w.used), w.used, 0};
    if (!w.to) return STERNA_ENOMEM;
    stn_selection_put_header(&w, &b->header);
    int rc = pwrite_all(b->fd, w.to, w.used, 0);
    free(w.to);
    return rc;
}

static int write_trailer(const struct stn_selection_builder *b) {
    uint8_t *buf = malloc(CRC_BYTES), sum[STN_SELECTION_TRAILER_BYTES];
    if (!buf) return STERNA_ENOMEM;
    uint32_t crc = 0;
    int rc = STERNA_OK;
    uint64_t end = b->header.file_bytes - STN_SELECTION_TRAILER_BYTES;
    for (uint64_t at = 0; at < end && rc == STERNA_OK; at += CRC_BYTES) {
        size_t bytes = (size_t)STN_MIN(end - at, CRC_BYTES);
        rc = stn_pread_all(b->fd, buf, bytes, (off_t)at);
        if (rc == STERNA_OK) crc = stn_crc32c(crc, buf, bytes);
    }
    free(buf);
    struct stn_writer w = {sum, sizeof sum, 0};
    stn_put_u32(&w, crc);
    return rc < 0 ? rc : pwrite_all(b->fd, sum, sizeof sum, end);
}

/* ---- the file ---- */

static int open_file(struct stn_selection_builder *b, const char *path, struct sterna_error *err) {
    if (b->dir) {
        int rc = stn_new_file_open(&b->file, path, err);
        b->fd = b->file.fd;
        return rc;
    }
    b->fd = stn_temporary_fd(NULL);
    return b->fd >= 0 ? STERNA_OK : stn_fail_sys(err, STERNA_EIO, "no temporary file can be made");
}

int stn_selection_builder_write(struct stn_selection_builder *b, const char *path,
                                struct sterna_error *err) {
    struct stn_selection_header *h = &b->header;
    for (uint32_t i = 0; i < h->n_columns; i++)
        h->sections[stn_section_column(h->n_fields, i) + 2].bytes = b->texts[i].heap_bytes;
    if (stn_sha256_close(&b->hash, h->hash) < 0)
        return stn_fail(err, STERNA_EIO, "the hash of a selection cannot be computed");
    stn_selection_place(h);
    int rc = open_file(b, path, err);
    if (rc < 0) return rc;
    if (stn_ftruncate(b->fd, (off_t)h->file_bytes) < 0) rc = STERNA_EIO; /* gaps are zero */
    if (rc == STERNA_OK) rc = write_header(b);
    if (rc == STERNA_OK) rc = write_sections(b);
    if (rc == STERNA_OK) rc = write_trailer(b);
    /* Synced now, so that naming several files at once cannot fail halfway for a full disk. */
    if (rc == STERNA_OK && b->dir && stn_fsync(b->fd) < 0) rc = STERNA_EIO;
    stn_spool_close(&b->spool);
    if (rc == STERNA_ENOMEM) return stn_fail_memory(err, "a selection");
    return rc < 0 ? stn_fail_sys(err, STERNA_EIO, "%s: cannot be written",
                                 b->dir ? path : "temporary selection file")
                  : STERNA_OK;
}

int stn_selection_builder_commit(struct stn_selection_builder *b, struct sterna_error *err) {
    b->fd = -1; /* closed with the file */
    return b->dir ? stn_new_file_commit(&b->file, err) : STERNA_OK;
}

int stn_selection_builder_finish(struct stn_selection_builder *b, const char *path,
                                 sterna_selection **out, struct sterna_error *err) {
    *out = NULL;
    int rc = stn_selection_builder_write(b, path, err);
    if (rc < 0) return rc;
    const char *name = b->dir ? path : "temporary selection file";
    int fd = fcntl(b->fd, F_DUPFD_CLOEXEC, 0);
    if (fd < 0) return stn_fail_sys(err, STERNA_EIO, "%s", name);
    if (b->dir) rc = stn_selection_builder_commit(b, err);
    if (rc == STERNA_OK) return stn_selection_open_fd(out, fd, name, 0, err);
    close(fd);
    return rc;
}
