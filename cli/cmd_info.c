/* sterna info: what a store holds. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "args.h"
#include "choose.h"
#include "cli.h"
#include "json.h"
#include "size.h"
#include "table.h"

#define CLASSES_SHOWN 20

struct info {
    const char *url;
    int json, all;
    struct sterna_store_info facts;
    struct cli_json out;
    struct cli_table table;
    int rc;
    uint32_t n_shown;
};

static const char *date_text(int64_t seconds, char *text, size_t bytes) {
    struct tm tm;
    time_t t = (time_t)seconds;
    if (!gmtime_r(&t, &tm) || strftime(text, bytes, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0) text[0] = 0;
    return text;
}

static int add_row(struct info *in, const struct sterna_value *values) {
    in->rc = cli_table_row(&in->table, values);
    return in->rc;
}

static int each_run(void *ctx, const struct sterna_run *r) {
    struct info *in = ctx;
    char date[40];
    date_text(r->finished_s, date, sizeof date);
    if (in->json) {
        cli_json_open(&in->out, NULL, '{');
        cli_json_uint(&in->out, "run", r->run);
        cli_json_uint(&in->out, "samples", r->n_samples);
        cli_json_text(&in->out, "finished", date);
        cli_json_text(&in->out, "source", r->source ? r->source : "");
        cli_json_close(&in->out, '}');
        return 0;
    }
    struct sterna_value row[] = {cli_int_value((int64_t)r->run), cli_text_value(date),
                                 cli_int_value((int64_t)r->n_samples), cli_text_value(r->source)};
    return add_row(in, row);
}

static int pair(struct info *in, const char *name, const char *key, const char *value) {
    if (in->json) {
        cli_json_open(&in->out, NULL, '{');
        cli_json_text(&in->out, "name", name);
        cli_json_text(&in->out, key, value);
        cli_json_close(&in->out, '}');
        return 0;
    }
    struct sterna_value row[] = {cli_text_value(name), cli_text_value(value)};
    return add_row(in, row);
}

static int each_column(void *ctx, const char *name, const char *type) {
    return pair(ctx, name, "type", type);
}

static int each_class(void *ctx, int64_t label, const char *name, uint64_t n_samples) {
    struct info *in = ctx;
    if (in->json) {
        cli_json_open(&in->out, NULL, '{');
        cli_json_int(&in->out, "label", label);
        cli_json_text(&in->out, "name", name);
        cli_json_uint(&in->out, "samples", n_samples);
        cli_json_close(&in->out, '}');
        return 0;
    }
    if (!in->all && in->n_shown == CLASSES_SHOWN) return 0;
    in->n_shown++;
    struct sterna_value row[] = {cli_int_value(label), cli_text_value(name),
                                 cli_int_value((int64_t)n_samples)};
    return add_row(in, row);
}

static int each_field(struct info *in, sterna_store *store, struct sterna_error *err) {
    for (uint32_t i = 0; i < in->facts.n_fields; i++) {
        struct sterna_field f;
        int rc = sterna_store_field(store, i, &f);
        if (rc < 0) {
            *err = (struct sterna_error){0};
            return rc;
        }
        rc = pair(in, f.name, "kind", sterna_kind_name(f.kind));
        if (rc != 0) return rc;
    }
    return STERNA_OK;
}

static int runs(struct info *in, sterna_store *store, struct sterna_error *err) {
    return sterna_store_runs(store, each_run, in, err);
}
static int columns(struct info *in, sterna_store *store, struct sterna_error *err) {
    return sterna_store_columns(store, each_column, in, err);
}
static int classes(struct info *in, sterna_store *store, struct sterna_error *err) {
    return sterna_store_classes(store, each_class, in, err);
}

static const struct list {
    const char *key; /* in JSON, and the title */
    const char *names[4];
    size_t n_names;
    int (*fill)(struct info *in, sterna_store *store, struct sterna_error *err);
} lists[] = {
    {"runs", {"run", "finished", "samples", "source"}, 4, runs},
    {"fields", {"name", "kind"}, 2, each_field},
    {"columns", {"name", "type"}, 2, columns},
    {"classes", {"label", "name", "samples"}, 3, classes},
};

static int print_list(struct info *in, sterna_store *store, const struct list *list) {
    struct sterna_error err = {0};
    if (in->json) {
        cli_json_open(&in->out, list->key, '[');
    } else {
        printf("\n%s\n", list->key);
        int rc = cli_table_open(&in->table, CLI_TABLE, list->names, list->n_names);
        if (rc != 0) return rc;
    }
    in->rc = 0;
    int rc = list->fill(in, store, &err);
    if (in->rc != 0) return in->rc;
    if (rc < 0) return cli_fail_err(rc, &err);
    if (in->json)
        cli_json_close(&in->out, ']');
    else
        cli_table_close(&in->table);
    return CLI_DONE;
}

static void print_facts(struct info *in) {
    const struct sterna_store_info *f = &in->facts;
    char id[STERNA_ID_TEXT_BYTES], text[CLI_NUMBER_TEXT];
    sterna_id_format(f->dataset_id, id);
    if (in->json) {
        cli_json_text(&in->out, "store", in->url);
        cli_json_text(&in->out, "dataset_id", id);
        cli_json_uint(&in->out, "format_version", f->format_version);
        cli_json_uint(&in->out, "samples", f->n_samples);
        cli_json_uint(&in->out, "bytes", f->n_bytes);
        cli_json_uint(&in->out, "last_run", f->last_run);
        cli_json_bool(&in->out, "read_only", f->read_only);
        return;
    }
    if (cli_is_cluster(in->url))
        printf("cluster        %.*s\n", (int)strcspn(in->url, "?"), in->url);
    printf("data set       %s\n", id);
    printf("format         version %u\n", f->format_version);
    printf("samples        %s\n", cli_count_text(f->n_samples, text));
    printf("bytes          %s", cli_count_text(f->n_bytes, text));
    printf(" (%s)\n", cli_size_text((double)f->n_bytes, text));
    printf("last run       %llu\n", (unsigned long long)f->last_run);
    printf("writable       %s\n", f->read_only ? "no" : "yes");
}

static int print_info(struct info *in, sterna_store *store) {
    struct sterna_error err = {0};
    int rc = sterna_store_info(store, &in->facts, &err);
    if (rc < 0) return cli_fail_err(rc, &err);
    if (in->json) cli_json_open(&in->out, NULL, '{');
    print_facts(in);
    for (size_t i = 0; i < CLI_COUNT(lists); i++) {
        rc = print_list(in, store, &lists[i]);
        cli_table_free(&in->table);
        if (rc != 0) return rc;
    }
    if (in->json) {
        cli_json_close(&in->out, '}');
        putchar('\n');
    } else if (in->n_shown < in->facts.n_classes && !in->all) {
        printf("... and %u more; --all shows them\n", in->facts.n_classes - in->n_shown);
    }
    return CLI_DONE;
}

int cmd_info(int argc, char **argv) {
    struct info in = {.out = {.to = stdout}};
    struct cli_option options[] = {
        {"json", CLI_FLAG, &in.json, NULL, "one JSON object", 0, 0, 0},
        {"all", CLI_FLAG, &in.all, NULL, "all classes, not only the first 20", 0, 0, 0},
    };
    struct cli_spec spec = {.name = "info",
                            .operands = "STORE",
                            .about = "Prints what a store holds: its data set, runs, fields, "
                                     "columns and classes.",
                            .options = options,
                            .n_options = CLI_COUNT(options),
                            .min_operands = 1,
                            .max_operands = 1,
                            .to = {&in.url}};
    int rc = cli_parse(&spec, argc, argv);
    if (rc != CLI_GO_ON) return rc;
    sterna_store *store = NULL;
    rc = cli_open_store(&store, in.url, STERNA_OPEN_READ);
    if (rc == CLI_DONE) rc = print_info(&in, store);
    sterna_store_close(&store);
    return rc;
}
