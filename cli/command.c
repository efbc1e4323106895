/* The sterna command: finds the subcommand and runs it. */
#include "command.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "args.h"
#include "cli.h"
#include "interrupt.h"

static const struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *summary;
} commands[] = {
    {"ingest", cmd_ingest, "put a folder of images into a store"},
    {"copy", cmd_copy, "copy samples from one store to another"},
    {"info", cmd_info, "what is in a store"},
    {"query", cmd_query, "ask the catalogue in SQL, save selections"},
    {"split", cmd_split, "split the samples into train, val, test ..."},
    {"plan", cmd_plan, "which samples are in a given batch"},
    {"read", cmd_read, "read epochs of shuffled batches, and measure"},
    {"verify", cmd_verify, "check every byte against its checksum and its source"},
    {"probe", cmd_probe, "what the way to a store can carry, within ten seconds"},
};

static const struct command *find(const char *name) {
    for (size_t i = 0; i < CLI_COUNT(commands); i++)
        if (strcmp(commands[i].name, name) == 0) return &commands[i];
    return NULL;
}

static void print_usage(FILE *to) {
    fputs("Usage: sterna COMMAND ...\n\nImage data sets in a key-value store, and fast shuffled "
          "reading from it.\n\n",
          to);
    for (size_t i = 0; i < CLI_COUNT(commands); i++)
        fprintf(to, "  %-10s%s\n", commands[i].name, commands[i].summary);
    fputs("\n'sterna help COMMAND' tells all about one. 'sterna --version' prints the version.\n\n"
          "Exit codes: 0 done, 1 error, 2 wrong arguments, 3 done but inputs were skipped,\n"
          "4 data differ, 5 no server answers or it refuses us, 130 interrupted.\n",
          to);
}

static int unknown(const char *name) {
    const char *near =
        cli_nearest(name, &commands[0].name, CLI_COUNT(commands), sizeof commands[0]);
    return cli_fail(CLI_USAGE, "unknown command '%s'%s%s; see 'sterna help'", name,
                    near ? "; did you mean " : "", near ? near : "");
}

static int help(int argc, char **argv) {
    if (argc < 2) {
        print_usage(stdout);
        return CLI_DONE;
    }
    const struct command *c = find(argv[1]);
    if (!c) return unknown(argv[1]);
    char *ask[] = {argv[1], (char[]){"--help"}, NULL};
    return c->run(2, ask);
}

static int run(int argc, char **argv) {
    if (argc < 2) {
        print_usage(stderr);
        return CLI_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "help") == 0) return help(argc - 1, argv + 1);
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) return help(1, argv);
    if (strcmp(name, "--version") == 0) {
        printf("sterna %s\n", sterna_version());
        return CLI_DONE;
    }
    const struct command *c = find(name);
    return c ? c->run(argc - 1, argv + 1) : unknown(name);
}

/* If a standard descriptor is closed, the next file opened would get its number, and messages would
 * go into the store. They are opened the wrong way round, so that using them still fails. */
static void hold_standard_descriptors(void) {
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) < 0)
            _exit(CLI_FAILED);
}

int cli_command(int argc, char **argv) {
    hold_standard_descriptors();
    cli_interrupt_setup();
    cli_log_setup();
    return cli_finish(run(argc, argv));
}
