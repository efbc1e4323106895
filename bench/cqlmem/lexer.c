#include "lexer.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

static int is_name(char c) { return isalnum((unsigned char)c) || c == '_'; }

static void skip_space(struct lexer *l) {
    while (l->at < l->end) {
        if (isspace((unsigned char)*l->at)) {
            l->at++;
        } else if (l->end - l->at >= 2 && l->at[0] == '-' && l->at[1] == '-') {
            while (l->at < l->end && *l->at != '\n') l->at++;
        } else {
            return;
        }
    }
}

/* Bytes of a text in quotes (doubled inside), or 0: it does not end. */
static size_t quoted_bytes(const char *at, const char *end) {
    char quote = *at;
    for (const char *p = at + 1; p < end; p++) {
        if (*p != quote) continue;
        if (p + 1 < end && p[1] == quote)
            p++;
        else
            return (size_t)(p + 1 - at);
    }
    return 0;
}

static int is_uuid(const char *at, const char *end) {
    if (end - at < 36) return 0;
    for (int i = 0; i < 36; i++) {
        int dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash ? at[i] != '-' : !isxdigit((unsigned char)at[i])) return 0;
    }
    return end - at == 36 || !is_name(at[36]);
}

static size_t number_bytes(const char *at, const char *end) {
    const char *p = at + (*at == '-');
    while (p < end && (isdigit((unsigned char)*p) || *p == '.' || *p == 'e' || *p == 'E' ||
                       ((*p == '-' || *p == '+') && (p[-1] == 'e' || p[-1] == 'E'))))
        p++;
    return (size_t)(p - at);
}

static size_t name_bytes(const char *at, const char *end) {
    const char *p = at;
    while (p < end && is_name(*p)) p++;
    return (size_t)(p - at);
}

static enum token_kind classify(const char *at, const char *end, size_t *bytes) {
    int has_two = end - at >= 2;
    *bytes = 1;
    if (*at == '\'' || *at == '"') {
        *bytes = quoted_bytes(at, end);
        if (!*bytes) return TOKEN_BAD;
        return *at == '"' ? TOKEN_QUOTED : TOKEN_STRING;
    }
    if (is_uuid(at, end)) {
        *bytes = 36;
        return TOKEN_UUID;
    }
    if (has_two && at[0] == '0' && (at[1] == 'x' || at[1] == 'X')) {
        *bytes = name_bytes(at, end);
        return TOKEN_HEX;
    }
    if (isdigit((unsigned char)*at) || (*at == '-' && has_two && isdigit((unsigned char)at[1]))) {
        *bytes = number_bytes(at, end);
        return TOKEN_NUMBER;
    }
    if (is_name(*at)) {
        *bytes = name_bytes(at, end);
        return TOKEN_NAME;
    }
    if (has_two && (*at == '<' || *at == '>' || *at == '!') && at[1] == '=') *bytes = 2;
    return strchr("?:;,.()<>=*{}[]+-!", *at) ? TOKEN_SIGN : TOKEN_BAD;
}

struct token lexer_next(struct lexer *l) {
    skip_space(l);
    struct token t = {TOKEN_END, l->at, 0};
    if (l->at == l->end) return t;
    t.kind = classify(l->at, l->end, &t.bytes);
    l->at += t.bytes;
    return t;
}

int token_is(const struct token *t, const char *word) {
    return (t->kind == TOKEN_NAME || t->kind == TOKEN_SIGN) && t->bytes == strlen(word) &&
           strncasecmp(t->at, word, t->bytes) == 0;
}
