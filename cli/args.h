/* Options of a command: one table says name, kind, where the value goes, and the help text.
 *
 * "--name value" and "--name=value" are the same; names are never abbreviated, so that a new option
 * cannot change what an old script means. "--" ends the options. The last of a repeated option
 * counts, except for lists. */
#ifndef CLI_ARGS_H
#define CLI_ARGS_H

#include <stddef.h>
#include <stdint.h>

struct cli_list {
    const char **items;
    size_t n;
    char *memory; /* of the items, if they were cut out of one text */
};

enum cli_arg {
    CLI_FLAG,   /* int *: 1 */
    CLI_UINT,   /* uint64_t *, within min..max */
    CLI_SIZE,   /* uint64_t *, bytes with units, within min..max */
    CLI_REAL,   /* double * */
    CLI_TEXT,   /* const char ** */
    CLI_CHOICE, /* int *: which of the words in `meta`, "strict|arrival" */
    CLI_LIST,   /* struct cli_list *: each use adds an item */
    CLI_COMMAS  /* struct cli_list *: items in one value, "a,b" */
};

struct cli_option {
    const char *name; /* NULL: a heading, whose text is `help` */
    enum cli_arg kind;
    void *to;
    const char *meta; /* what the value is called in the help, or the words of a choice */
    const char *help;
    uint64_t min, max; /* max 0: no limit */
    int given;         /* set by cli_parse */
};

struct cli_spec {
    const char *name;     /* of the command */
    const char *operands; /* "STORE [SQL]", for the help */
    const char *about;    /* what it does, for the help */
    struct cli_option *options;
    size_t n_options;
    size_t min_operands, max_operands;
    const char **to[2]; /* where operands go */
};

#define CLI_GO_ON (-1)

/* Fills what the table names. CLI_GO_ON, or the exit code: --help was asked for (0), or a mistake
 * was reported (2). Lists are to be freed in any case. */
int cli_parse(struct cli_spec *spec, int argc, char **argv);
int cli_given(const struct cli_spec *spec, const char *name);
/* Of the named options (NULL ends the list) at most one may be given: CLI_GO_ON, or 2
 * after a message. */
int cli_at_most_one(const struct cli_spec *spec, const char *const *names);
void cli_list_free(struct cli_list *list);

/* The one of n words that `text` most likely was meant to be, or NULL. `words` lie `stride` bytes
 * apart. */
const char *cli_nearest(const char *text, const void *words, size_t n, size_t stride);

#endif
