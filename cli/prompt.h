/* Asks for a password on the terminal. */
#ifndef CLI_PROMPT_H
#define CLI_PROMPT_H

#include <stddef.h>

/* For sterna_store_options.password: asks once for each user and host, and remembers the answer as
 * long as the process runs. EREFUSED without a terminal, or when no answer is given. Any thread. */
int cli_prompt_password(void *ctx, const char *user, const char *host, char *buf, size_t cap);

/* In a signal handler: 1 if a question was open, whose terminal is as it was again. */
int cli_prompt_restore(void);

#endif
