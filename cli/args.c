/* The option parser and the help made from the same table. */
#include "args.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "size.h"

static struct cli_option *find(const struct cli_spec *spec, const char *name, size_t len) {
    for (size_t i = 0; i < spec->n_options; i++) {
        const char *n = spec->options[i].name;
        if (n && strlen(n) == len && memcmp(n, name, len) == 0) return &spec->options[i];
    }
    return NULL;
}

/* Levenshtein's distance, for words as short as options are; 99 for longer ones. */
static size_t distance(const char *a, size_t n, const char *b) {
    size_t row[40], m = strlen(b);
    if (m >= CLI_COUNT(row)) return 99;
    for (size_t j = 0; j <= m; j++) row[j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            if (row[j] + 1 < best) best = row[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[m];
}

const char *cli_nearest(const char *text, const void *words, size_t n, size_t stride) {
    const char *nearest = NULL;
    size_t len = strcspn(text, "="), best = len / 3 + 2; /* farther than that is no slip */
    for (size_t i = 0; i < n; i++) {
        const char *word;
        memcpy(&word, (const char *)words + i * stride, sizeof word);
        if (!word) continue;
        /* A word cut short is near, however much is missing. */
        size_t d = len >= 2 && strncmp(word, text, len) == 0 ? 1 : distance(text, len, word);
        if (d < best) {
            best = d;
            nearest = word;
        }
    }
    return nearest;
}

static int bad_value(const struct cli_option *o, const char *value, const char *want) {
    return cli_fail(CLI_USAGE, "--%s: '%s' is not %s", o->name, value, want);
}

static int check_range(const struct cli_option *o, const char *value, uint64_t n) {
    uint64_t max = o->max ? o->max : UINT64_MAX;
    if (n >= o->min && n <= max) return CLI_GO_ON;
    if (max == UINT64_MAX)
        return cli_fail(CLI_USAGE, "--%s: %s is too small; it must be at least %llu", o->name,
                        value, (unsigned long long)o->min);
    return cli_fail(CLI_USAGE, "--%s: %s is out of range; it must be %llu to %llu", o->name, value,
                    (unsigned long long)o->min, (unsigned long long)max);
}

static int set_choice(const struct cli_option *o, const char *value) {
    size_t len = strlen(value);
    const char *word = o->meta;
    for (int i = 0;; i++) {
        size_t word_len = strcspn(word, "|");
        if (word_len == len && memcmp(word, value, len) == 0) {
            *(int *)o->to = i;
            return CLI_GO_ON;
        }
        if (word[word_len] == 0) break;
        word += word_len + 1;
    }
    return cli_fail(CLI_USAGE, "--%s: '%s' is not one of %s", o->name, value, o->meta);
}

static int append(struct cli_list *list, const char *item) {
    const char **grown = realloc(list->items, (list->n + 1) * sizeof *grown);
    if (!grown) return cli_fail(CLI_FAILED, "out of memory for the arguments");
    list->items = grown;
    list->items[list->n++] = item;
    return CLI_GO_ON;
}

static int set_commas(const struct cli_option *o, const char *value) {
    struct cli_list *list = o->to;
    cli_list_free(list);
    list->memory = strdup(value);
    if (!list->memory) return cli_fail(CLI_FAILED, "out of memory for the arguments");
    for (char *item = list->memory, *next; item; item = next) {
        next = strchr(item, ',');
        if (next) *next++ = 0;
        if (*item == 0)
            return cli_fail(CLI_USAGE, "--%s: there is an empty name in '%s'", o->name, value);
        int rc = append(list, item);
        if (rc != CLI_GO_ON) return rc;
    }
    return CLI_GO_ON;
}

static int set(struct cli_option *o, const char *value) {
    uint64_t n;
    double r;
    o->given = 1;
    switch (o->kind) {
    case CLI_FLAG:
        *(int *)o->to = 1;
        return CLI_GO_ON;
    case CLI_UINT:
        if (cli_parse_uint(value, &n) < 0) return bad_value(o, value, "a whole number");
        *(uint64_t *)o->to = n;
        return check_range(o, value, n);
    case CLI_SIZE:
        if (cli_parse_size(value, &n) < 0)
            return bad_value(o, value, "a size such as 512k, 4G or 1.5GiB");
        *(uint64_t *)o->to = n;
        return check_range(o, value, n);
    case CLI_REAL:
        if (cli_parse_real(value, &r) < 0) return bad_value(o, value, "a number");
        *(double *)o->to = r;
        return CLI_GO_ON;
    case CLI_TEXT:
        if (*value == 0) return cli_fail(CLI_USAGE, "--%s: the value is empty", o->name);
        *(const char **)o->to = value;
        return CLI_GO_ON;
    case CLI_CHOICE:
        return set_choice(o, value);
    case CLI_LIST:
        return append(o->to, value);
    case CLI_COMMAS:
        return set_commas(o, value);
    }
    return CLI_GO_ON;
}

/* ---- help ---- */

#define HELP_COLUMN 28
#define HELP_WIDTH 92

static void wrapped(const char *text, int column) {
    int at = column;
    while (*text) {
        int word = (int)strcspn(text, " \n");
        if (at > column && at + 1 + word > HELP_WIDTH) {
            printf("\n%*s", column, "");
            at = column;
        }
        at += printf("%s%.*s", at > column ? " " : "", word, text);
        text += word;
        if (*text == '\n') {
            printf("\n%*s", column, "");
            at = column;
        }
        if (*text) text++;
    }
    printf("\n");
}

static void print_option(const struct cli_option *o) {
    if (!o->name) {
        printf("\n%s\n", o->help);
        return;
    }
    int at = printf("  --%s", o->name);
    if (o->kind != CLI_FLAG) at += printf(" %s", o->meta);
    if (at + 2 > HELP_COLUMN) {
        printf("\n");
        at = 0;
    }
    printf("%*s", HELP_COLUMN - at, "");
    wrapped(o->help, HELP_COLUMN);
}

static void print_help(const struct cli_spec *spec) {
    printf("Usage: sterna %s %s [options]\n\n", spec->name, spec->operands);
    wrapped(spec->about, 0);
    if (spec->n_options > 0 && spec->options[0].name) printf("\nOptions:\n");
    for (size_t i = 0; i < spec->n_options; i++) print_option(&spec->options[i]);
    printf("%-*sthis text\n", HELP_COLUMN, "  -h, --help");
}

/* ---- parsing ---- */

static int unknown(const struct cli_spec *spec, const char *arg) {
    const char *near = NULL;
    if (strncmp(arg, "--", 2) == 0)
        near =
            cli_nearest(arg + 2, &spec->options[0].name, spec->n_options, sizeof spec->options[0]);
    return cli_fail(CLI_USAGE, "unknown option '%.*s'%s%s; see 'sterna help %s'",
                    (int)strcspn(arg, "="), arg, near ? "; did you mean --" : "", near ? near : "",
                    spec->name);
}

/* argv[*at] begins with "--": takes it, and perhaps the argument after it. */
static int take_option(const struct cli_spec *spec, int argc, char **argv, int *at) {
    const char *name = argv[*at] + 2, *value = strchr(name, '=');
    size_t len = value ? (size_t)(value - name) : strlen(name);
    struct cli_option *o = find(spec, name, len);
    if (!o) return unknown(spec, argv[*at]);
    if (o->kind == CLI_FLAG) {
        if (value) return cli_fail(CLI_USAGE, "--%s takes no value", o->name);
        return set(o, NULL);
    }
    if (value) return set(o, value + 1);
    if (*at + 1 >= argc) return cli_fail(CLI_USAGE, "--%s: %s is missing", o->name, o->meta);
    return set(o, argv[++*at]);
}

int cli_parse(struct cli_spec *spec, int argc, char **argv) {
    size_t n_operands = 0;
    int options_end = 0;
    for (int i = 1; i < argc; i++) { /* wherever it stands: somebody is at a loss */
        if (strcmp(argv[i], "--") == 0) break;
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            print_help(spec);
            return CLI_DONE;
        }
    }
    for (int i = 1; i < argc; i++) {
        const char *arg = argv[i];
        if (!options_end && strcmp(arg, "--") == 0) {
            options_end = 1;
        } else if (!options_end && strncmp(arg, "--", 2) == 0) {
            int rc = take_option(spec, argc, argv, &i);
            if (rc != CLI_GO_ON) return rc;
        } else if (!options_end && arg[0] == '-' && arg[1] != 0) {
            return unknown(spec, arg);
        } else if (n_operands == spec->max_operands) {
            return cli_fail(CLI_USAGE, "unexpected argument '%s': sterna %s %s", arg, spec->name,
                            spec->operands);
        } else if (*arg == 0) {
            return cli_fail(CLI_USAGE, "an argument is empty: sterna %s %s", spec->name,
                            spec->operands);
        } else {
            *spec->to[n_operands++] = arg;
        }
    }
    if (n_operands < spec->min_operands)
        return cli_fail(CLI_USAGE, "an argument is missing: sterna %s %s", spec->name,
                        spec->operands);
    return CLI_GO_ON;
}

int cli_given(const struct cli_spec *spec, const char *name) {
    const struct cli_option *o = find(spec, name, strlen(name));
    return o && o->given;
}

int cli_at_most_one(const struct cli_spec *spec, const char *const *names) {
    const char *first = NULL;
    for (; *names; names++) {
        if (!cli_given(spec, *names)) continue;
        if (first) return cli_fail(CLI_USAGE, "--%s and --%s exclude each other", first, *names);
        first = *names;
    }
    return CLI_GO_ON;
}

void cli_list_free(struct cli_list *list) {
    free(list->items);
    free(list->memory);
    *list = (struct cli_list){0};
}
