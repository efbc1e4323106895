/* sterna split: named selections for train, val, test. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "args.h"
#include "choose.h"
#include "cli.h"
#include "json.h"
#include "size.h"
#include "table.h"

struct split {
    const char *url, *by, *stratify, *where;
    struct cli_list parts;
    uint64_t seed;
    int exact, json;
    struct sterna_part *shares; /* names cut out of parts.memory */
    sterna_store *store;
    struct cli_table table;
    struct cli_json out;
    int rc;
};

/* "train=0.8" is cut at its '='. */
static int parse_parts(struct split *s) {
    s->shares = calloc(s->parts.n + 1, sizeof *s->shares);
    if (!s->shares) return cli_fail(CLI_FAILED, "out of memory for the parts");
    for (size_t i = 0; i < s->parts.n; i++) {
        char *text = s->parts.memory + (s->parts.items[i] - s->parts.memory);
        char *equals = strrchr(text, '=');
        if (!equals || equals == text || cli_parse_real(equals + 1, &s->shares[i].share) < 0 ||
            s->shares[i].share <= 0)
            return cli_fail(CLI_USAGE, "--parts: '%s' is not NAME=SHARE with a share above 0",
                            text);
        *equals = 0;
        s->shares[i].name = text;
        for (size_t k = 0; k < i; k++)
            if (strcmp(s->shares[k].name, text) == 0)
                return cli_fail(CLI_USAGE, "--parts: there are two parts named '%s'", text);
    }
    return CLI_GO_ON;
}

static void json_row(struct split *s, const struct sterna_split_row *row) {
    struct cli_json *j = &s->out;
    cli_json_open(j, NULL, '{');
    cli_json_text(j, "part", row->part);
    if (row->stratum)
        cli_json_text(j, "stratum", row->stratum);
    else
        cli_json_null(j, "stratum");
    cli_json_uint(j, "samples", row->n);
    cli_json_uint(j, "groups", row->n_groups);
    cli_json_real(j, "share_wanted", row->share_wanted);
    cli_json_real(j, "share_got", row->share_got);
    cli_json_real(j, "deviation", row->share_got - row->share_wanted);
    cli_json_close(j, '}');
}

static void report(void *ctx, const struct sterna_split_row *row) {
    struct split *s = ctx;
    char wanted[32], got[32], deviation[32];
    if (s->rc != 0) return;
    if (s->json) {
        json_row(s, row);
        return;
    }
    snprintf(wanted, sizeof wanted, "%.2f%%", 100 * row->share_wanted);
    snprintf(got, sizeof got, "%.2f%%", 100 * row->share_got);
    snprintf(deviation, sizeof deviation, "%+.2f%%", 100 * (row->share_got - row->share_wanted));
    struct sterna_value values[] = {
        cli_text_value(row->part),      cli_text_value(row->stratum ? row->stratum : "(all)"),
        cli_int_value((int64_t)row->n), cli_int_value((int64_t)row->n_groups),
        cli_text_value(wanted),         cli_text_value(got),
        cli_text_value(deviation)};
    s->rc = cli_table_row(&s->table, values);
}

/* What was saved, as the library now finds it under each name. */
static int list_saved(struct split *s) {
    cli_json_open(&s->out, "selections", '[');
    for (size_t i = 0; i < s->parts.n; i++) {
        sterna_selection *selection = NULL;
        struct sterna_selection_info info;
        char hash[2 * STERNA_HASH_BYTES + 1];
        struct cli_which which = {.selection = s->shares[i].name};
        int rc = cli_select(&selection, s->store, &which);
        if (rc != CLI_DONE) return rc;
        sterna_selection_info(selection, &info);
        cli_hex_text(info.hash, STERNA_HASH_BYTES, hash);
        cli_json_open(&s->out, NULL, '{');
        cli_json_text(&s->out, "name", s->shares[i].name);
        cli_json_uint(&s->out, "samples", info.n);
        cli_json_uint(&s->out, "bytes", info.n_bytes);
        cli_json_text(&s->out, "selection", hash);
        cli_json_close(&s->out, '}');
        sterna_selection_close(&selection);
    }
    cli_json_close(&s->out, ']');
    return CLI_DONE;
}

static int split(struct split *s) {
    static const char *const names[] = {"part",   "stratum", "samples",  "groups",
                                        "wanted", "got",     "deviation"};
    struct sterna_error err = {0};
    struct sterna_split_options o = {.struct_size = sizeof o,
                                     .parts = s->shares,
                                     .n_parts = s->parts.n,
                                     .by = s->by,
                                     .stratify = s->stratify,
                                     .where = s->where,
                                     .seed = s->seed,
                                     .exact = s->exact};
    if (s->json) {
        cli_json_open(&s->out, NULL, '{');
        cli_json_open(&s->out, "parts", '[');
    } else {
        int rc = cli_table_open(&s->table, CLI_TABLE, names, CLI_COUNT(names));
        if (rc != CLI_DONE) return rc;
    }
    int rc = sterna_split(s->store, &o, report, s, &err);
    if (rc < 0) return cli_fail_err(rc, &err);
    if (s->rc != 0) return s->rc;
    if (!s->json) {
        cli_table_close(&s->table);
        return CLI_DONE;
    }
    cli_json_close(&s->out, ']');
    rc = list_saved(s);
    cli_json_close(&s->out, '}');
    putchar('\n');
    return rc;
}

static int run(struct split *s) {
    int rc = cli_open_store(&s->store, s->url, STERNA_OPEN_WRITE);
    if (rc == CLI_DONE) rc = split(s);
    cli_table_free(&s->table);
    sterna_store_close(&s->store);
    return rc;
}

int cmd_split(int argc, char **argv) {
    struct split s = {.out = {.to = stdout}};
    struct cli_option options[] = {
        {"parts", CLI_COMMAS, &s.parts, "A=SHARE,B=SHARE",
         "names of the parts and their shares, which add up to 1: train=0.8,val=0.1,test=0.1", 0, 0,
         0},
        {"by", CLI_TEXT, &s.by, "COLUMN",
         "samples with the same value in this column stay together in one part", 0, 0, 0},
        {"stratify", CLI_TEXT, &s.stratify, "COLUMN",
         "also show the shares for each value of this column; with --exact: hold them there", 0, 0,
         0},
        {"seed", CLI_UINT, &s.seed, "N", "another number, another split (0)", 0, 0, 0},
        {"exact", CLI_FLAG, &s.exact, NULL,
         "exact shares; then adding samples later may move old ones", 0, 0, 0},
        {"where", CLI_TEXT, &s.where, "SQL", "split only samples for which this is true", 0, 0, 0},
        {"json", CLI_FLAG, &s.json, NULL, "one JSON object", 0, 0, 0},
    };
    struct cli_spec spec = {
        .name = "split",
        .operands = "STORE",
        .about = "Splits the samples into parts and saves each as a selection of that name in the "
                 "store. Where a sample goes depends on the seed and on itself only, so samples "
                 "added later move no old one, and shares hold on average.",
        .options = options,
        .n_options = CLI_COUNT(options),
        .min_operands = 1,
        .max_operands = 1,
        .to = {&s.url}};
    int rc = cli_parse(&spec, argc, argv);
    if (rc == CLI_GO_ON && s.parts.n == 0)
        rc = cli_fail(CLI_USAGE, "--parts is missing, e.g. --parts train=0.8,val=0.1,test=0.1");
    if (rc == CLI_GO_ON) rc = parse_parts(&s);
    if (rc == CLI_GO_ON) rc = run(&s);
    free(s.shares);
    cli_list_free(&s.parts);
    return rc;
}
