/* Rows of values as an aligned table, CSV or JSON on stdout. */
#ifndef CLI_TABLE_H
#define CLI_TABLE_H

#include <stddef.h>

#include "json.h"
#include "sterna/selection.h"

enum cli_format { CLI_TABLE = 0, CLI_CSV = 1, CLI_JSON = 2 }; /* as in --format table|csv|json */
#define CLI_FORMATS "table|csv|json"

/* CSV: RFC 4180 with lines ended by a newline; null is empty, an empty text is "". Bytes as they
 * are. JSON: an array of objects; see json.h for what is no UTF-8.
 * Table: columns are as wide as the first 1000 rows need, so memory does not grow with the rows;
 * longer values later push their line out. */
struct cli_table {
    enum cli_format format;
    size_t n_columns;
    char **names;
    struct cli_json json;
    size_t n_rows; /* JSON only: printed so far */
    /* table only */
    char **cells; /* of the rows held back until widths are known */
    size_t n_cells, cap_cells;
    int *widths;
    unsigned char *is_text; /* column holds something that is no number: left-aligned */
    int streaming;
};

/* 0, or an exit code: out of memory. Prints the head for CSV and JSON. */
int cli_table_open(struct cli_table *t, enum cli_format format, const char *const *names, size_t n);
int cli_table_row(struct cli_table *t, const struct sterna_value *values);
void cli_table_close(struct cli_table *t); /* prints what is held back and the end */
void cli_table_free(struct cli_table *t);  /* without printing; also after close */

/* Values for cli_table_row. */
struct sterna_value cli_text_value(const char *text); /* NULL: null */
struct sterna_value cli_int_value(int64_t n);
struct sterna_value cli_real_value(double r);

#endif
