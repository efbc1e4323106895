/* Owns the file and the bytes of one record; a record ends at a line end outside quotes. */
#include "ingest/csv.h"

#include <errno.h>
#include <string.h>

#define RECORD_BYTES_MAX (16 << 20) /* a forgotten quote must not swallow a whole large file */

int stn_csv_open(struct stn_csv *csv, const char *path, struct sterna_error *err) {
    *csv = (struct stn_csv){.path = path, .next_line = 1};
    csv->file = fopen(path, "rbe");
    if (!csv->file)
        return stn_fail_sys(err, errno == ENOENT ? STERNA_ENOTFOUND : STERNA_EIO, "%s", path);
    static const int bom[] = {0xEF, 0xBB, 0xBF};
    int n = 0;
    while (n < 3 && getc(csv->file) == bom[n]) n++;
    if (n < 3) rewind(csv->file);
    return STERNA_OK;
}

void stn_csv_close(struct stn_csv *csv) {
    if (csv->file) fclose(csv->file);
    free(csv->fields);
    free(csv->text);
    *csv = (struct stn_csv){0};
}

static int fail_at(const struct stn_csv *csv, const char *what, struct sterna_error *err) {
    return stn_fail(err, STERNA_EINVAL, "%s, line %llu: %s", csv->path,
                    (unsigned long long)csv->line, what);
}

static int put(struct stn_csv *csv, int c, struct sterna_error *err) {
    if (csv->text_bytes == RECORD_BYTES_MAX)
        return fail_at(csv, "the record is over 16 MiB long: is a quote not closed?", err);
    if (stn_grow((void **)&csv->text, &csv->text_cap, csv->text_bytes + 1, 1) < 0)
        return stn_fail_memory(err, csv->path);
    csv->text[csv->text_bytes++] = (char)c;
    return STERNA_OK;
}

/* The next byte of the file. */
static int next_byte(struct stn_csv *csv) {
    int c = getc_unlocked(csv->file);
    if (c == '\n') csv->next_line++;
    return c;
}

/* 1 if a line ends at c, which is '\n' then. */
static int at_line_end(struct stn_csv *csv, int *c) {
    if (*c != '\r') return *c == '\n';
    int after = next_byte(csv);
    if (after == '\n') return *c = '\n', 1;
    if (after != EOF) ungetc(after, csv->file);
    return 0;
}

/* Appends one field and a NUL to text; *end is what ended it: ',', '\n' or EOF. */
static int read_field(struct stn_csv *csv, int *end, struct sterna_error *err) {
    int rc = STERNA_OK, c = next_byte(csv), quoted = c == '"';
    for (c = quoted ? next_byte(csv) : c; rc == STERNA_OK; c = next_byte(csv)) {
        if (quoted && c == '"') {
            c = next_byte(csv);
            if (c != '"') { /* else a doubled quote: it stands for one */
                if (c == ',' || c == EOF || at_line_end(csv, &c)) break;
                return fail_at(csv, "more text behind a closing quote", err);
            }
        } else if (c == EOF || (!quoted && (c == ',' || at_line_end(csv, &c)))) {
            if (quoted && !ferror(csv->file)) return fail_at(csv, "a quote is not closed", err);
            break;
        }
        if (c == '\0') return fail_at(csv, "a NUL byte: this is no text file", err);
        rc = put(csv, c, err);
    }
    *end = c;
    return rc == STERNA_OK ? put(csv, '\0', err) : rc;
}

/* Points fields[] at what lies in text. */
static int index_fields(struct stn_csv *csv, size_t n, struct sterna_error *err) {
    if (stn_grow((void **)&csv->fields, &csv->fields_cap, n, sizeof *csv->fields) < 0)
        return stn_fail_memory(err, csv->path);
    csv->n_fields = n;
    for (char *at = csv->text, **f = csv->fields; n > 0; n--, at += strlen(at) + 1) *f++ = at;
    return STERNA_OK;
}

int stn_csv_next(struct stn_csv *csv, struct sterna_error *err) {
    size_t n = 0;
    int end = ',';
    do { /* a line with nothing on it is passed over */
        if (end == EOF) return STERNA_END;
        csv->line = csv->next_line;
        csv->text_bytes = 0;
        for (n = 0, end = ','; end == ','; n++) {
            int rc = read_field(csv, &end, err);
            if (rc < 0) return rc;
        }
        if (ferror(csv->file))
            return stn_fail_sys(err, STERNA_EIO, "%s: cannot be read", csv->path);
    } while (n == 1 && csv->text[0] == '\0');
    if (!stn_is_utf8(csv->text, csv->text_bytes)) return fail_at(csv, "is not UTF-8", err);
    return index_fields(csv, n, err);
}
