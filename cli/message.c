/* Messages on stderr and the end of stdout. */
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"
#include "progress.h"

size_t cli_utf8_length(const char *text, size_t bytes) {
    const unsigned char *t = (const unsigned char *)text;
    if (bytes == 0) return 0;
    if (t[0] < 0x80) return 1;
    size_t n = t[0] >= 0xC2 && t[0] <= 0xDF   ? 2
               : t[0] >= 0xE0 && t[0] <= 0xEF ? 3
               : t[0] >= 0xF0 && t[0] <= 0xF4 ? 4
                                              : 0;
    if (n == 0 || n > bytes) return 0;
    for (size_t i = 1; i < n; i++)
        if ((t[i] & 0xC0) != 0x80) return 0;
    /* Overlong forms, surrogates, and code points past U+10FFFF show in the second byte. */
    if ((t[0] == 0xE0 && t[1] < 0xA0) || (t[0] == 0xED && t[1] > 0x9F) ||
        (t[0] == 0xF0 && t[1] < 0x90) || (t[0] == 0xF4 && t[1] > 0x8F))
        return 0;
    return n;
}

const char *cli_printable(const char *raw, size_t raw_bytes, char *buf, size_t buf_bytes) {
    size_t used = 0;
    for (size_t i = 0; i < raw_bytes;) {
        size_t n = cli_utf8_length(raw + i, raw_bytes - i);
        int escape = n == 0 || (n == 1 && ((unsigned char)raw[i] < 0x20 || raw[i] == 0x7F));
        if (used + 8 >= buf_bytes) {
            if (used + 4 <= buf_bytes) used += (size_t)snprintf(buf + used, 4, "...");
            break;
        }
        if (escape) {
            used += (size_t)snprintf(buf + used, 5, "\\x%02x", (unsigned)(unsigned char)raw[i]);
            i++;
        } else {
            memcpy(buf + used, raw + i, n);
            used += n;
            i += n;
        }
    }
    if (buf_bytes > 0) buf[used] = 0;
    return buf;
}

static void print_line(const char *before, const char *format, va_list args) {
    char text[2048], line[2 * sizeof text];
    int n = vsnprintf(text, sizeof text, format, args);
    size_t bytes = n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
    cli_progress_print(before, cli_printable(text, bytes, line, sizeof line));
}

int cli_fail(int exit_code, const char *format, ...) {
    va_list args;
    va_start(args, format);
    print_line("sterna: ", format, args);
    va_end(args);
    return exit_code;
}

void cli_note(const char *format, ...) {
    va_list args;
    va_start(args, format);
    print_line("", format, args);
    va_end(args);
}

/* On any thread; the message is printable already. */
static void print_log(void *ctx, int level, const char *message) {
    (void)ctx;
    if (level <= STERNA_LOG_WARNING) cli_progress_print("sterna: ", message);
}

void cli_log_setup(void) { sterna_set_log(print_log, NULL); }

int cli_exit_code(int code) {
    switch (code) {
    case STERNA_EINVAL:
    case STERNA_EQUERY:
        return CLI_USAGE;
    case STERNA_EUNREACHABLE:
    case STERNA_EREFUSED:
        return CLI_UNREACHABLE;
    case STERNA_ECANCELED:
        return CLI_INTERRUPTED;
    default:
        return code < 0 ? CLI_FAILED : CLI_DONE;
    }
}

int cli_fail_err(int code, const struct sterna_error *err) {
    int known = err && err->code == code && err->message[0] != 0;
    return cli_fail(cli_exit_code(code), "%s", known ? err->message : sterna_strerror(code));
}

/* 1 if stdout is a pipe that nobody reads any more. */
static int reader_gone(void) {
    struct pollfd p = {.fd = STDOUT_FILENO};
    return poll(&p, 1, 0) == 1 && (p.revents & POLLERR) != 0;
}

int cli_output_broken(void) { return ferror(stdout) != 0; }

int cli_finish(int exit_code) {
    cli_progress_hide();
    errno = 0;
    int failed = ferror(stdout) != 0;
    if (fflush(stdout) != 0) failed = 1;
    int why = errno, gone = failed && reader_gone();
    int copy = dup(STDOUT_FILENO); /* some file systems tell only when a descriptor is closed */
    if (copy >= 0 && close(copy) != 0 && !failed) {
        failed = 1;
        why = errno;
    }
    if (!failed || gone || why == EPIPE) return exit_code;
    cli_fail(CLI_FAILED, "cannot write to standard output: %s",
             why ? strerror(why) : "an earlier write failed");
    return exit_code == CLI_DONE ? CLI_FAILED : exit_code;
}

double cli_now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double seconds_of(struct timeval t) { return (double)t.tv_sec + (double)t.tv_usec * 1e-6; }

double cli_cpu_s(void) {
    struct rusage u;
    if (getrusage(RUSAGE_SELF, &u) != 0) return 0;
    return seconds_of(u.ru_utime) + seconds_of(u.ru_stime);
}
