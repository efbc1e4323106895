/* Owns the quoting of columns' names. Knows no statement. */
#include "source/cql_text.h"

#include <stdarg.h>

int stn_cql_text_open(struct stn_cql_text *t, struct sterna_error *err) {
    *t = (struct stn_cql_text){0};
    t->out = open_memstream(&t->data, &t->bytes);
    return t->out ? STERNA_OK : stn_fail_memory(err, "a statement");
}

void stn_cql_text_add(struct stn_cql_text *t, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vfprintf(t->out, format, args);
    va_end(args);
}

/* An unquoted name means the one in lower case: names come here as the server tells them. */
void stn_cql_text_name(struct stn_cql_text *t, const char *column) {
    fputc('"', t->out);
    for (const char *c = column; *c; c++) {
        if (*c == '"') fputc('"', t->out);
        fputc(*c, t->out);
    }
    fputc('"', t->out);
}

char *stn_cql_text_take(struct stn_cql_text *t, struct sterna_error *err) {
    int failed = ferror(t->out);
    failed |= fclose(t->out) != 0;
    t->out = NULL;
    if (!failed && t->data) return t->data;
    free(t->data);
    t->data = NULL;
    stn_fail_memory(err, "a statement");
    return NULL;
}
