/* Words of a CQL text. */
#ifndef CQLMEM_LEXER_H
#define CQLMEM_LEXER_H

#include <stddef.h>

enum token_kind {
    TOKEN_END,
    TOKEN_NAME,   /* keyword or identifier */
    TOKEN_QUOTED, /* "Identifier" */
    TOKEN_STRING, /* 'text' */
    TOKEN_NUMBER,
    TOKEN_UUID,
    TOKEN_HEX,  /* 0x.. */
    TOKEN_SIGN, /* punctuation; <=, >= and != are one */
    TOKEN_BAD
};

struct token {
    enum token_kind kind;
    const char *at; /* with its quotes */
    size_t bytes;
};

struct lexer {
    const char *text, *at, *end;
};

struct token lexer_next(struct lexer *l);
int token_is(const struct token *t, const char *word); /* any case; signs too */

#endif
