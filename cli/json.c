/* The JSON emitter. Errors of the stream stay in the stream: cli_finish() looks there. */
#include "json.h"

#include <math.h>
#include <string.h>

#include "cli.h"
#include "size.h"

static void quoted(FILE *to, const char *text, size_t bytes) {
    fputc('"', to);
    for (size_t i = 0; i < bytes;) {
        unsigned char c = (unsigned char)text[i];
        size_t n = cli_utf8_length(text + i, bytes - i);
        if (n == 0) {
            fputs("\\ufffd", to);
            n = 1;
        } else if (c == '"' || c == '\\') {
            fprintf(to, "\\%c", c);
        } else if (c < 0x20 || c == 0x7F) {
            fprintf(to, "\\u%04x", c);
        } else {
            fwrite(text + i, 1, n, to);
        }
        i += n;
    }
    fputc('"', to);
}

static void before(struct cli_json *j, const char *key) {
    if (j->filled >> j->depth & 1) fputs(", ", j->to);
    j->filled |= UINT32_C(1) << j->depth;
    if (!key) return;
    quoted(j->to, key, strlen(key));
    fputs(": ", j->to);
}

void cli_json_open(struct cli_json *j, const char *key, char bracket) {
    before(j, key);
    fputc(bracket, j->to);
    j->depth++;
    j->filled &= ~(UINT32_C(1) << j->depth);
}

void cli_json_close(struct cli_json *j, char bracket) {
    j->depth--;
    fputc(bracket, j->to);
}

void cli_json_uint(struct cli_json *j, const char *key, uint64_t n) {
    before(j, key);
    fprintf(j->to, "%llu", (unsigned long long)n);
}

void cli_json_int(struct cli_json *j, const char *key, int64_t n) {
    before(j, key);
    fprintf(j->to, "%lld", (long long)n);
}

void cli_json_bool(struct cli_json *j, const char *key, int truth) {
    before(j, key);
    fputs(truth ? "true" : "false", j->to);
}

void cli_json_null(struct cli_json *j, const char *key) {
    before(j, key);
    fputs("null", j->to);
}

void cli_json_real(struct cli_json *j, const char *key, double r) {
    char text[CLI_NUMBER_TEXT];
    before(j, key);
    fputs(isnan(r)   ? "null"
          : isinf(r) ? (r > 0 ? "1e999" : "-1e999")
                     : cli_real_text(r, text),
          j->to);
}

void cli_json_bytes(struct cli_json *j, const char *key, const char *text, size_t bytes) {
    before(j, key);
    quoted(j->to, text, bytes);
}

void cli_json_text(struct cli_json *j, const char *key, const char *text) {
    cli_json_bytes(j, key, text, strlen(text));
}
