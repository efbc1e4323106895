/* sterna query: rows of the catalogue, and saved selections. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "args.h"
#include "choose.h"
#include "cli.h"
#include "json.h"
#include "size.h"
#include "table.h"

#define TERMINAL_ROWS 1000 /* more than anybody reads on a screen */
#define TIME_LIMIT_MAX_S 86400.0

struct query {
    const char *url, *where, *save;
    struct cli_list columns;
    uint64_t as_of_run, limit;
    double time_limit_s;
    int format;
    /* while rows come */
    struct cli_table table;
    uint64_t n_rows;
    int rc, opened, more;
};

enum { STOP = 1 }; /* a callback's value: enough rows, or trouble (in q->rc) */

static int each_row(void *ctx, const char *const *names, const struct sterna_value *values,
                    size_t n) {
    struct query *q = ctx;
    if (q->n_rows == q->limit) {
        q->more = 1;
        return STOP;
    }
    if (!q->opened) {
        q->rc = cli_table_open(&q->table, (enum cli_format)q->format, names, n);
        if (q->rc != 0) return STOP;
        q->opened = 1;
    }
    q->n_rows++;
    q->rc = cli_table_row(&q->table, values);
    return q->rc != 0 || cli_output_broken() ? STOP : 0;
}

struct names {
    char **items;
    size_t n;
};

static int collect_name(void *ctx, const char *name, const char *type) {
    struct names *list = ctx;
    (void)type;
    char **grown = realloc(list->items, (list->n + 1) * sizeof *grown);
    if (!grown) return STERNA_ENOMEM;
    list->items = grown;
    list->items[list->n] = strdup(name);
    return list->items[list->n] ? (list->n++, 0) : STERNA_ENOMEM;
}

/* No row came, so nobody told the names of the columns. */
static int print_empty(struct query *q, sterna_store *store) {
    struct names all = {0};
    struct sterna_error err = {0};
    int rc = CLI_DONE, got = STERNA_OK;
    if (q->columns.n == 0) got = sterna_store_columns(store, collect_name, &all, &err);
    if (got < 0)
        rc = cli_fail_err(got, &err);
    else if (q->columns.n > 0)
        rc = cli_table_open(&q->table, (enum cli_format)q->format, q->columns.items, q->columns.n);
    else
        rc = cli_table_open(&q->table, (enum cli_format)q->format, (const char *const *)all.items,
                            all.n);
    if (rc == CLI_DONE) cli_table_close(&q->table);
    for (size_t i = 0; i < all.n; i++) free(all.items[i]);
    free(all.items);
    return rc;
}

static int print_rows(struct query *q, sterna_store *store) {
    struct sterna_error err = {0};
    struct sterna_query_options o = {.struct_size = sizeof o,
                                     .where = q->where,
                                     .columns = q->columns.items,
                                     .n_columns = q->columns.n,
                                     .as_of_run = q->as_of_run,
                                     .time_limit_ms = (unsigned)(q->time_limit_s * 1000 + 0.5)};
    int limited = q->limit != UINT64_MAX, screen = q->format == CLI_TABLE && isatty(STDOUT_FILENO);
    if (!limited && screen) q->limit = TERMINAL_ROWS;
    int rc = sterna_query(store, &o, each_row, q, &err);
    if (q->rc != 0) return q->rc;
    if (rc < 0) return cli_fail_err(rc, &err);
    if (!q->opened) return print_empty(q, store);
    cli_table_close(&q->table);
    if (q->more && !limited)
        cli_note("the first %d rows; there are more: --limit N, or send the output to a file",
                 TERMINAL_ROWS);
    return CLI_DONE;
}

static void print_saved(const struct query *q, const sterna_selection *s) {
    struct sterna_selection_info info;
    char hash[2 * STERNA_HASH_BYTES + 1], n[CLI_NUMBER_TEXT], size[CLI_NUMBER_TEXT];
    sterna_selection_info(s, &info);
    cli_hex_text(info.hash, STERNA_HASH_BYTES, hash);
    if (q->format != CLI_JSON) {
        printf("%s: %s samples, %s, selection %s\n", q->save, cli_count_text(info.n, n),
               cli_size_text((double)info.n_bytes, size), hash);
        return;
    }
    struct cli_json j = {.to = stdout};
    cli_json_open(&j, NULL, '{');
    cli_json_text(&j, "saved", q->save);
    cli_json_uint(&j, "samples", info.n);
    cli_json_uint(&j, "bytes", info.n_bytes);
    cli_json_text(&j, "selection", hash);
    cli_json_uint(&j, "run", info.run);
    cli_json_close(&j, '}');
    putchar('\n');
}

static int save(struct query *q) {
    sterna_store *store = NULL;
    sterna_selection *selection = NULL;
    struct sterna_error err = {0};
    int is_file = cli_names_file(q->save);
    struct sterna_select_options o = {.struct_size = sizeof o,
                                      .where = q->where,
                                      .as_of_run = q->as_of_run,
                                      .columns = q->columns.items,
                                      .n_columns = q->columns.n,
                                      .time_limit_ms = (unsigned)(q->time_limit_s * 1000 + 0.5)};
    int rc = cli_open_store(&store, q->url, is_file ? STERNA_OPEN_READ : STERNA_OPEN_WRITE);
    if (rc != CLI_DONE) return rc;
    int got = sterna_select(&selection, store, &o, &err);
    if (got >= 0)
        got = is_file ? sterna_selection_save(selection, q->save, &err)
                      : sterna_selection_save_as(selection, store, q->save, &err);
    if (got < 0)
        rc = cli_fail_err(got, &err);
    else
        print_saved(q, selection);
    sterna_selection_close(&selection);
    sterna_store_close(&store);
    return rc;
}

static int check(struct cli_spec *spec, const struct query *q) {
    if (q->save && cli_given(spec, "limit"))
        return cli_fail(CLI_USAGE, "--save and --limit exclude each other: a selection is all "
                                   "samples that the SQL chooses");
    if (q->save && q->format == CLI_CSV)
        return cli_fail(CLI_USAGE, "--save prints no rows: --format is table or json with it");
    if (cli_given(spec, "time-limit") &&
        (q->time_limit_s < 0.001 || q->time_limit_s > TIME_LIMIT_MAX_S))
        return cli_fail(CLI_USAGE,
                        "--time-limit: %g is out of range; it must be 0.001 to %g "
                        "seconds",
                        q->time_limit_s, TIME_LIMIT_MAX_S);
    return CLI_GO_ON;
}

static int run(struct query *q) {
    if (q->save) return save(q);
    sterna_store *store = NULL;
    int rc = cli_open_store(&store, q->url, STERNA_OPEN_READ);
    if (rc == CLI_DONE) rc = print_rows(q, store);
    cli_table_free(&q->table);
    sterna_store_close(&store);
    return rc;
}

int cmd_query(int argc, char **argv) {
    struct query q = {.limit = UINT64_MAX};
    struct cli_option options[] = {
        {"columns", CLI_COMMAS, &q.columns, "A,B",
         "these columns, in this order (all); with --save: carried along in the selection", 0, 0,
         0},
        {"as-of", CLI_UINT, &q.as_of_run, "RUN", "only what was there after this run", 1, 0, 0},
        {"format", CLI_CHOICE, &q.format, CLI_FORMATS,
         "how rows are printed (table): csv is RFC 4180 with plain newlines, json an array with "
         "one object a line; bytes that are no UTF-8 stay as they are in csv and become U+FFFD "
         "in json",
         0, 0, 0},
        {"limit", CLI_UINT, &q.limit, "N", "at most so many rows", 0, 0, 0},
        {"save", CLI_TEXT, &q.save, "NAME_OR_FILE",
         "save the samples as a selection instead of printing them: in the store under a name, or "
         "as a file if it has a '/' or ends in .sel",
         0, 0, 0},
        {"time-limit", CLI_REAL, &q.time_limit_s, "S", "give up after so many seconds (60)", 0, 0,
         0},
    };
    struct cli_spec spec = {
        .name = "query",
        .operands = "STORE [SQL]",
        .about = "Prints the samples for which an SQL expression over the columns is true, e.g. "
                 "\"label = 3 and width > 400\"; all samples without one.",
        .options = options,
        .n_options = CLI_COUNT(options),
        .min_operands = 1,
        .max_operands = 2,
        .to = {&q.url, &q.where}};
    int rc = cli_parse(&spec, argc, argv);
    if (rc == CLI_GO_ON) rc = check(&spec, &q);
    if (rc == CLI_GO_ON) rc = run(&q);
    cli_list_free(&q.columns);
    return rc;
}
