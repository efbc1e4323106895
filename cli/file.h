/* Files that the command writes: found out early if they cannot be, and never half-written. */
#ifndef CLI_FILE_H
#define CLI_FILE_H

#include <stdio.h>

struct cli_file {
    FILE *stream;
    char *path, *temporary; /* beside path */
};

/* All return 0, or 1 after a message; `what` is for it ("--report"). */
int cli_file_probe(const char *what, const char *path); /* could it be written? */
int cli_file_open(struct cli_file *f, const char *what, const char *path);
int cli_file_commit(struct cli_file *f, const char *what); /* now it is there, whole */
void cli_file_discard(struct cli_file *f);                 /* after commit: does nothing */

#endif
