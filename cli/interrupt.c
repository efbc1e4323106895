/* The signal handler and its few flags. */
#include "interrupt.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <unistd.h>

#include "cli.h"
#include "prompt.h"

static atomic_int gentle, n_signals, n_in_handler;
static _Atomic(sterna_loader *) to_cancel;

static void on_signal(int number) {
    int saved = errno;
    (void)number;
    int asking = cli_prompt_restore(); /* whoever answers a password with Ctrl-C wants to leave */
    if (asking || !atomic_load(&gentle) || atomic_fetch_add(&n_signals, 1) > 0)
        _exit(CLI_INTERRUPTED);
    atomic_fetch_add(&n_in_handler, 1);
    sterna_loader *loader = atomic_load(&to_cancel);
    if (loader) sterna_loader_cancel(loader);
    atomic_fetch_sub(&n_in_handler, 1);
    errno = saved;
}

void cli_interrupt_setup(void) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    const int numbers[] = {SIGINT, SIGTERM};
    for (size_t i = 0; i < CLI_COUNT(numbers); i++) sigaction(numbers[i], &action, NULL);
    signal(SIGPIPE, SIG_IGN); /* a closed pipe shows as EPIPE: cli_finish() */
}

void cli_interrupt_gently(void) { atomic_store(&gentle, 1); }

int cli_interrupted(void) { return atomic_load(&n_signals) > 0; }

void cli_interrupt_loader(sterna_loader *loader) {
    atomic_store(&to_cancel, loader);
    if (loader && cli_interrupted()) sterna_loader_cancel(loader);
    /* The handler may be running on another thread with the old loader in its hand. */
    while (!loader && atomic_load(&n_in_handler) > 0) sched_yield();
}
