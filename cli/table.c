/* Tables. Knows nothing of where the rows come from. */
#include "table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "size.h"

#define HELD_ROWS 1000
#define WIDEST 60 /* a longer value does not widen its column */

struct sterna_value cli_text_value(const char *text) {
    if (!text) return (struct sterna_value){.type = STERNA_NULL};
    return (struct sterna_value){.type = STERNA_TEXT, .text = text, .text_bytes = strlen(text)};
}

struct sterna_value cli_int_value(int64_t n) {
    return (struct sterna_value){.type = STERNA_INT, .i = n};
}

struct sterna_value cli_real_value(double r) {
    return (struct sterna_value){.type = STERNA_REAL, .r = r};
}

static int no_memory(void) { return cli_fail(CLI_FAILED, "out of memory for the table"); }

static int characters(const char *text) {
    int n = 0;
    for (; *text; text++) n += ((unsigned char)*text & 0xC0) != 0x80;
    return n;
}

static void csv_text(const char *text, size_t bytes) {
    int plain = bytes > 0;
    for (size_t i = 0; i < bytes && plain; i++) plain = !strchr(",\"\r\n", text[i]) || !text[i];
    if (plain) {
        fwrite(text, 1, bytes, stdout);
        return;
    }
    putchar('"');
    for (size_t i = 0; i < bytes; i++) {
        if (text[i] == '"') putchar('"');
        putchar(text[i]);
    }
    putchar('"');
}

int cli_table_open(struct cli_table *t, enum cli_format format, const char *const *names,
                   size_t n) {
    *t = (struct cli_table){.format = format, .json = {.to = stdout}};
    t->names = calloc(n + 1, sizeof *t->names);
    if (!t->names) return no_memory();
    for (; t->n_columns < n; t->n_columns++)
        if (!(t->names[t->n_columns] = strdup(names[t->n_columns]))) return no_memory();
    if (format == CLI_JSON) cli_json_open(&t->json, NULL, '[');
    if (format == CLI_CSV) {
        for (size_t i = 0; i < n; i++) {
            if (i > 0) putchar(',');
            csv_text(names[i], strlen(names[i]));
        }
        putchar('\n');
    }
    if (format != CLI_TABLE) return CLI_DONE;
    t->widths = calloc(n + 1, sizeof *t->widths);
    t->is_text = calloc(n + 1, 1);
    if (!t->widths || !t->is_text) return no_memory();
    for (size_t i = 0; i < n; i++) t->widths[i] = characters(names[i]);
    return CLI_DONE;
}

static void csv_row(const struct cli_table *t, const struct sterna_value *values) {
    char text[CLI_NUMBER_TEXT];
    for (size_t i = 0; i < t->n_columns; i++) {
        const struct sterna_value *v = &values[i];
        if (i > 0) putchar(',');
        if (v->type == STERNA_INT) printf("%lld", (long long)v->i);
        if (v->type == STERNA_REAL) fputs(cli_real_text(v->r, text), stdout);
        if (v->type == STERNA_TEXT) csv_text(v->text, v->text_bytes);
    }
    putchar('\n');
}

static void json_row(struct cli_table *t, const struct sterna_value *values) {
    /* One object a line, so that a reader can also go line by line. */
    fputs(t->n_rows++ > 0 ? ",\n" : "\n", stdout);
    t->json.filled = 0; /* the comma is there already */
    cli_json_open(&t->json, NULL, '{');
    for (size_t i = 0; i < t->n_columns; i++) {
        const struct sterna_value *v = &values[i];
        const char *key = t->names[i];
        if (v->type == STERNA_NULL) cli_json_null(&t->json, key);
        if (v->type == STERNA_INT) cli_json_int(&t->json, key, v->i);
        if (v->type == STERNA_REAL) cli_json_real(&t->json, key, v->r);
        if (v->type == STERNA_TEXT) cli_json_bytes(&t->json, key, v->text, v->text_bytes);
    }
    cli_json_close(&t->json, '}');
}

/* A value's text, to be freed; NULL: no memory. */
static char *cell_text(const struct sterna_value *v) {
    char number[CLI_NUMBER_TEXT] = "";
    if (v->type == STERNA_TEXT) {
        size_t cap = 4 * v->text_bytes + 9; /* "\xNN" for each byte, and what cli_printable wants */
        char *text = malloc(cap);
        if (text) cli_printable(v->text, v->text_bytes, text, cap);
        return text;
    }
    if (v->type == STERNA_INT) snprintf(number, sizeof number, "%lld", (long long)v->i);
    if (v->type == STERNA_REAL) cli_real_text(v->r, number);
    return strdup(number);
}

static void print_cells(const struct cli_table *t, char *const *cells) {
    for (size_t i = 0; i < t->n_columns; i++) {
        int pad = t->widths[i] - characters(cells[i]), last = i + 1 == t->n_columns;
        if (pad < 0) pad = 0;
        if (i > 0) fputs("  ", stdout);
        if (t->is_text[i])
            printf("%s%*s", cells[i], last ? 0 : pad, "");
        else
            printf("%*s%s", pad, "", cells[i]);
    }
    putchar('\n');
}

/* Prints the head and the rows held back; the rest streams. */
static void release_held(struct cli_table *t) {
    if (t->streaming) return;
    t->streaming = 1;
    if (t->n_columns == 0) return;
    print_cells(t, t->names);
    for (size_t at = 0; at < t->n_cells; at += t->n_columns) print_cells(t, t->cells + at);
    for (size_t i = 0; i < t->n_cells; i++) free(t->cells[i]);
    t->n_cells = 0;
}

static int hold_row(struct cli_table *t, const struct sterna_value *values) {
    if (t->n_cells + t->n_columns > t->cap_cells) {
        size_t cap = 2 * t->cap_cells + t->n_columns;
        char **grown = realloc(t->cells, cap * sizeof *grown);
        if (!grown) return no_memory();
        t->cells = grown;
        t->cap_cells = cap;
    }
    size_t start = t->n_cells;
    for (size_t i = 0; i < t->n_columns; i++) {
        char *text = cell_text(&values[i]);
        if (!text) return no_memory();
        t->cells[t->n_cells++] = text;
        if (t->streaming) continue;
        int width = characters(text);
        if (width > WIDEST) width = WIDEST;
        if (width > t->widths[i]) t->widths[i] = width;
        if (values[i].type == STERNA_TEXT) t->is_text[i] = 1;
    }
    if (t->streaming) {
        print_cells(t, t->cells + start);
        while (t->n_cells > start) free(t->cells[--t->n_cells]);
    } else if (t->n_cells >= HELD_ROWS * t->n_columns) {
        release_held(t);
    }
    return CLI_DONE;
}

int cli_table_row(struct cli_table *t, const struct sterna_value *values) {
    if (t->format == CLI_TABLE) return hold_row(t, values);
    if (t->format == CLI_CSV)
        csv_row(t, values);
    else
        json_row(t, values);
    return CLI_DONE;
}

void cli_table_close(struct cli_table *t) {
    if (t->format == CLI_TABLE) release_held(t);
    if (t->format == CLI_JSON) {
        if (t->n_rows > 0) putchar('\n');
        cli_json_close(&t->json, ']');
        putchar('\n');
    }
    cli_table_free(t);
}

void cli_table_free(struct cli_table *t) {
    for (size_t i = 0; i < t->n_cells; i++) free(t->cells[i]);
    for (size_t i = 0; t->names && i < t->n_columns; i++) free(t->names[i]);
    free(t->cells);
    free(t->names);
    free(t->widths);
    free(t->is_text);
    *t = (struct cli_table){0};
}
