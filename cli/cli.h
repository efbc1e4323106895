/* What all commands share: exit codes, messages, the end of stdout, and the commands themselves.
 *
 * Data go to stdout, everything else to stderr. The command uses the public API only. */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <stddef.h>
#include <stdint.h>

#include "sterna/sterna.h"

#define CLI_COUNT(a) (sizeof(a) / sizeof((a)[0]))

enum cli_exit {
    CLI_DONE = 0,
    CLI_FAILED = 1,
    CLI_USAGE = 2,
    CLI_SKIPPED = 3,     /* done, but some inputs were skipped */
    CLI_DIFFER = 4,      /* data differ from what they should be */
    CLI_UNREACHABLE = 5, /* no server answers, or it refused us */
    CLI_INTERRUPTED = 130
};

/* Each returns an exit code. argv[0] is the command's own name. */
int cmd_ingest(int argc, char **argv);
int cmd_copy(int argc, char **argv);
int cmd_info(int argc, char **argv);
int cmd_query(int argc, char **argv);
int cmd_split(int argc, char **argv);
int cmd_plan(int argc, char **argv);
int cmd_read(int argc, char **argv);
int cmd_verify(int argc, char **argv);
int cmd_probe(int argc, char **argv);

/* Prints "sterna: MESSAGE" as exactly one line (control characters are escaped) and returns
 * exit_code: `return cli_fail(CLI_USAGE, "...")`. */
__attribute__((format(printf, 2, 3))) int cli_fail(int exit_code, const char *format, ...);

/* The same for a failed library call: its message, or the code's phrase, and its exit code. */
int cli_fail_err(int code, const struct sterna_error *err);
int cli_exit_code(int code);

/* Warnings of the library become such lines too, so that they do not get into the progress bar. */
void cli_log_setup(void);

/* One line on stderr that is no error; same rules. */
__attribute__((format(printf, 1, 2))) void cli_note(const char *format, ...);

/* A raw name made fit for one line: control characters and bytes that are no UTF-8 as \xNN.
 * Cut with "..." if buf is too small. Returns buf. */
const char *cli_printable(const char *raw, size_t raw_bytes, char *buf, size_t buf_bytes);

/* Length of the well-formed UTF-8 sequence at text[0..bytes), or 0. */
size_t cli_utf8_length(const char *text, size_t bytes);

/* 1 once a write to stdout failed: no use in going on. */
int cli_output_broken(void);
/* Writes out what is left in stdout. A reader that went away is no failure; a full disk is, and
 * takes the place of an exit code of 0. */
int cli_finish(int exit_code);

double cli_now_s(void); /* monotonic */
double cli_cpu_s(void); /* user + system of this process */

#endif
