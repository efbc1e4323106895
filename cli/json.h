/* JSON, written as it comes: objects and arrays nest, commas are set by themselves. */
#ifndef CLI_JSON_H
#define CLI_JSON_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct cli_json {
    FILE *to;
    unsigned depth;
    uint32_t filled; /* bit d: the object or array at depth d has an element */
};

void cli_json_open(struct cli_json *j, const char *key, char bracket); /* '{' or '['; key or NULL */
void cli_json_close(struct cli_json *j, char bracket);                 /* '}' or ']' */
void cli_json_uint(struct cli_json *j, const char *key, uint64_t n);
void cli_json_int(struct cli_json *j, const char *key, int64_t n);
void cli_json_bool(struct cli_json *j, const char *key, int truth);
void cli_json_null(struct cli_json *j, const char *key);

/* Shortest digits that read back the same. No number: null; infinite: 1e999, which is legal JSON
 * and reads back as infinite. */
void cli_json_real(struct cli_json *j, const char *key, double r);

/* Bytes that are no UTF-8 become U+FFFD, one each. */
void cli_json_text(struct cli_json *j, const char *key, const char *text);
void cli_json_bytes(struct cli_json *j, const char *key, const char *text, size_t bytes);

#endif
