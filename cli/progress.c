/* The progress display. There is one stderr, hence one of these. The command's own thread shows it;
 * lines may come from any, so what is on the terminal is behind a lock. */
#include "progress.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli.h"

#define REDRAW_S 0.1
#define LINE_S 10.0

enum kind { NONE, LINES, BAR };

static struct {
    enum kind kind;
    double next_s; /* when something may be shown again, */
    double wait_s; /* and when it is worth a line that nothing has come */
    int drawn;     /* a bar stands on the terminal's last line; guarded by `lock` */
} display;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static enum kind kind_of(int quiet, int terminal_only) {
    const char *forced = getenv("STERNA_PROGRESS"), *terminal = getenv("TERM");
    if (quiet) return NONE;
    if (forced && strcmp(forced, "tty") == 0) return BAR;
    if (forced && strcmp(forced, "lines") == 0) return LINES;
    if (forced && strcmp(forced, "none") == 0) return NONE;
    if (isatty(STDERR_FILENO)) return terminal && strcmp(terminal, "dumb") == 0 ? LINES : BAR;
    return terminal_only ? NONE : LINES;
}

void cli_progress_open(int quiet, int terminal_only) {
    display.kind = kind_of(quiet, terminal_only);
    display.next_s = 0;
    display.wait_s = display.kind == BAR ? 0 : cli_now_s() + LINE_S;
}

int cli_progress_due(void) { return display.kind != NONE && cli_now_s() >= display.next_s; }

int cli_progress_wait_due(void) { return cli_progress_due() && cli_now_s() >= display.wait_s; }

int cli_progress_tick_ms(void) { return display.kind == NONE ? -1 : 200; }

static size_t columns(void) {
    struct winsize w;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 0) return w.ws_col;
    return 80;
}

/* "label [#####    ] 45%  details", no longer than the terminal is wide. */
static void draw_bar(const char *label, double fraction, const char *details) {
    char line[512], bar[48] = "";
    size_t width = columns();
    if (fraction >= 0) {
        int cells = width >= 110 ? 30 : width >= 90 ? 16 : 6;
        int full = (int)(fraction * cells);
        snprintf(bar, sizeof bar, " [%.*s%*s] %3d%%", full, "##############################",
                 cells - full, "", (int)(fraction * 100));
    }
    snprintf(line, sizeof line, "%s%s  %s", label, bar, details);
    if (width > 1 && strlen(line) > width - 1) {
        line[width - 1] = 0;
        for (size_t i = width - 1;
             i-- > 1;) { /* fields are cut whole; they stand two spaces apart */
            if (line[i] != ' ' || line[i - 1] != ' ') continue;
            line[i - 1] = 0;
            break;
        }
    }
    pthread_mutex_lock(&lock);
    fprintf(stderr, "\r%s\033[K", line); /* erases what an older, longer line left */
    fflush(stderr);
    display.drawn = 1;
    pthread_mutex_unlock(&lock);
}

void cli_progress_show(const char *label, double fraction, const char *details) {
    if (display.kind == NONE) return;
    if (fraction > 1) fraction = 1;
    display.next_s = cli_now_s() + (display.kind == BAR ? REDRAW_S : LINE_S);
    if (display.kind == BAR)
        draw_bar(label, fraction, details);
    else if (fraction >= 0)
        fprintf(stderr, "%s %d%%%s%s\n", label, (int)(fraction * 100), details[0] ? "  " : "",
                details);
    else
        fprintf(stderr, "%s%s%s\n", label, details[0] ? "  " : "", details);
}

static void hide(void) {
    if (!display.drawn) return;
    fputs("\r\033[K", stderr);
    fflush(stderr);
    display.drawn = 0;
}

void cli_progress_hide(void) {
    pthread_mutex_lock(&lock);
    hide();
    pthread_mutex_unlock(&lock);
}

void cli_progress_print(const char *before, const char *line) {
    pthread_mutex_lock(&lock);
    hide();
    fprintf(stderr, "%s%s\n", before, line);
    pthread_mutex_unlock(&lock);
}

void cli_text_add(struct cli_text *t, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int n = vsnprintf(t->text + t->used, sizeof t->text - t->used, format, args);
    va_end(args);
    if (n > 0) t->used += (size_t)n;
    if (t->used >= sizeof t->text) t->used = sizeof t->text - 1;
}
