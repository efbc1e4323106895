/* Progress on stderr: one line drawn anew on a terminal, a plain line now and then elsewhere. */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include <stddef.h>

/* `quiet`: nothing at all. `terminal_only`: nothing unless stderr is a terminal. The environment
 * variable STERNA_PROGRESS forces one kind: tty, lines or none. */
void cli_progress_open(int quiet, int terminal_only);

/* 1 if it is time to show something: ask first, then build the text. */
int cli_progress_due(void);

/* The same while something is waited for: lines begin with what has come, or after ten seconds. */
int cli_progress_wait_due(void);

/* fraction 0..1 draws a bar on a terminal and percents elsewhere; < 0: not known. */
void cli_progress_show(const char *label, double fraction, const char *details);

/* Takes the bar off the terminal, so that other lines can be printed. It comes back by itself. */
void cli_progress_hide(void);

/* A line on stderr, not on top of the bar. Any thread. */
void cli_progress_print(const char *before, const char *line);

/* Milliseconds a wait may last without the display growing stale; -1 if there is none. */
int cli_progress_tick_ms(void);

/* A short text put together piece by piece; what does not fit is cut off. */
struct cli_text {
    char text[256];
    size_t used;
};
__attribute__((format(printf, 2, 3))) void cli_text_add(struct cli_text *t, const char *format,
                                                        ...);

#endif
