#include "catalog/expression.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define DEPTH_MAX 1000 /* newer SQLites take any number of parentheses, as far as memory goes */

// clang-format off
static const char *const functions[] = {
    /* core */
    "abs", "char", "coalesce", "concat", "concat_ws", "format", "glob", "hex", "ifnull", "if", "iif",
    "instr", "length", "like", "likelihood", "likely", "lower", "ltrim", "max", "min", "nullif",
    "octet_length", "printf", "quote", "replace", "round", "rtrim", "sign", "substr", "substring",
    "trim", "typeof", "unhex", "unicode", "unlikely", "upper",
    /* math */
    "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "ceil", "ceiling", "cos", "cosh",
    "degrees", "exp", "floor", "ln", "log", "log10", "log2", "mod", "pi", "pow", "power", "radians",
    "sin", "sinh", "sqrt", "tan", "tanh", "trunc",
    /* JSON */
    "->", "->>", "json", "json_array", "json_array_length", "json_error_position", "json_extract",
    "json_group_array", "json_group_object", "json_insert", "json_object", "json_patch",
    "json_quote", "json_remove", "json_replace", "json_set", "json_type", "json_valid",
    /* over the rows of a subquery */
    "avg", "count", "cume_dist", "dense_rank", "first_value", "group_concat", "lag", "last_value",
    "lead", "nth_value", "ntile", "percent_rank", "rank", "row_number", "string_agg", "sum",
    "total",
    /* ours */
    "sterna_id",
};
// clang-format on

int stn_expression_may_call(const char *function) {
    for (size_t i = 0; i < STN_COUNT(functions); i++)
        if (strcasecmp(functions[i], function) == 0) return 1;
    return 0;
}

int stn_expression_fail(const char *text, int code, const char *what, struct sterna_error *err) {
    char shown[128];
    stn_printable(text, shown, sizeof shown);
    size_t n = strlen(shown);
    if (n > 100) strcpy(shown + 97, "...");
    return stn_fail(err, code, "expression '%s': %s", shown, what);
}

static int fail(const char *text, const char *what, struct sterna_error *err) {
    return stn_expression_fail(text, STERNA_EQUERY, what, err);
}

/* End of what starts at `at` and runs to `end`, doubled ends being part of it; NULL if it has none.
 */
static const char *skip_quoted(const char *at, char end) {
    for (at++; *at; at++) {
        if (*at != end) continue;
        if (end == ']' || at[1] != end) return at + 1;
        at++;
    }
    return NULL;
}

static const char *skip_comment(const char *at) {
    if (at[0] == '-') return at + strcspn(at, "\n");
    const char *end = strstr(at + 2, "*/");
    return end ? end + 2 : NULL;
}

/* A character that means something outside of quotes and comments. */
static const char *take_plain(char c, int *depth) {
    switch (c) {
    case '(':
        return ++*depth > DEPTH_MAX ? "more parentheses within each other than can be followed"
                                    : NULL;
    case ')':
        return --*depth < 0 ? "a ')' without a '('" : NULL;
    case ';':
        return "';' is not allowed: one expression, as after WHERE";
    case '?':
    case ':':
    case '@':
    case '$':
    case '#':
        return "parameters (? : @ $ #) are not allowed: write the value";
    default:
        return NULL;
    }
}

int stn_expression_check(const char *text, struct sterna_error *err) {
    int depth = 0, empty = 1;
    for (const char *at = text; *at;) {
        int comment = (at[0] == '-' && at[1] == '-') || (at[0] == '/' && at[1] == '*');
        if (comment) {
            at = skip_comment(at);
            if (!at) return fail(text, "a comment that does not end", err);
            continue;
        }
        empty = empty && isspace((unsigned char)*at);
        if (strchr("'\"`[", *at)) {
            at = skip_quoted(at, *at == '[' ? ']' : *at);
            if (!at) return fail(text, "a quote that does not end", err);
            continue;
        }
        const char *wrong = take_plain(*at++, &depth);
        if (wrong) return fail(text, wrong, err);
    }
    if (empty) return fail(text, "is empty", err);
    if (depth > 0) return fail(text, "a '(' without a ')'", err);
    return STERNA_OK;
}
