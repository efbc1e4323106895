/* Ctrl-C (SIGINT) and SIGTERM. */
#ifndef CLI_INTERRUPT_H
#define CLI_INTERRUPT_H

#include "sterna/loader.h"

/* From now on the first signal ends the process with 130, as a crash would: stores survive that. */
void cli_interrupt_setup(void);

/* From now on the first signal is only noted (and told to the loader that is set), so that the
 * command can stop cleanly; the second one ends the process with 130. */
void cli_interrupt_gently(void);
int cli_interrupted(void);

/* The loader to cancel at a signal; NULL before it is closed. */
void cli_interrupt_loader(sterna_loader *loader);

#endif
