/* Text -> struct statement, by recursive descent. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "statement.h"

enum { DEPTH_MAX = 8 };

struct parser {
    struct lexer lexer;
    struct token now;
    struct statement *s;
    struct failure *f;
};

static void advance(struct parser *p) { p->now = lexer_next(&p->lexer); }

static int syntax(struct parser *p, const char *wanted) {
    int column = (int)(p->now.at - p->lexer.text);
    if (p->now.kind == TOKEN_END)
        return refuse(p->f, STN_CQL_E_SYNTAX, "line 1:%d mismatched input '<EOF>' expecting %s",
                      column, wanted);
    return refuse(p->f, STN_CQL_E_SYNTAX, "line 1:%d no viable alternative at input '%.*s' (%s)",
                  column, (int)STN_MIN(p->now.bytes, (size_t)60), p->now.at, wanted);
}

static int is(const struct parser *p, const char *word) { return token_is(&p->now, word); }

static int accept(struct parser *p, const char *word) {
    if (!is(p, word)) return 0;
    advance(p);
    return 1;
}

static int expect(struct parser *p, const char *word) {
    return accept(p, word) ? 0 : syntax(p, word);
}

/* ---- names ---- */

static const char *unquoted(struct parser *p, const struct token *t) {
    char quote = t->at[0];
    char *text = scratch_take(&p->s->memory, t->bytes), *to = text;
    for (size_t i = 1; i + 1 < t->bytes; i++) {
        *to++ = t->at[i];
        if (t->at[i] == quote) i++;
    }
    return text;
}

static int name(struct parser *p, const char **out) {
    if (p->now.kind == TOKEN_QUOTED) {
        *out = unquoted(p, &p->now);
    } else if (p->now.kind == TOKEN_NAME) {
        char *text = scratch_text(&p->s->memory, p->now.at, p->now.bytes);
        for (char *c = text; *c; c++) *c = (char)tolower((unsigned char)*c);
        *out = text;
    } else {
        return syntax(p, "a name");
    }
    if (strlen(*out) > 100) return syntax(p, "a shorter name");
    advance(p);
    return 0;
}

static int table_name(struct parser *p) {
    if (name(p, &p->s->table) < 0) return -1;
    if (!accept(p, ".")) return 0;
    p->s->keyspace = p->s->table;
    return name(p, &p->s->table);
}

static int if_exists(struct parser *p) {
    if (!accept(p, "IF")) return 0;
    if (expect(p, "EXISTS") < 0) return -1;
    p->s->if_exists = 1;
    return 0;
}

static int if_not_exists(struct parser *p) {
    if (!accept(p, "IF")) return 0;
    if (expect(p, "NOT") < 0 || expect(p, "EXISTS") < 0) return -1;
    p->s->if_not_exists = 1;
    return 0;
}

/* ---- terms ---- */

static int term(struct parser *p, struct term *out, int depth);

static int items(struct parser *p, struct term *out, const char *close, int depth) {
    struct term *list = NULL;
    size_t n = 0, cap = 0;
    int rc = 0;
    advance(p);
    while (rc == 0 && !is(p, close)) {
        grow(&list, &cap, n + 1, sizeof *list);
        rc = term(p, &list[n], depth + 1);
        if (rc == 0) n++;
        if (rc == 0 && !accept(p, ",") && !accept(p, ":") && !is(p, close)) rc = syntax(p, close);
    }
    if (rc == 0) advance(p);
    *out = (struct term){.kind = TERM_ITEMS, .n_items = n};
    out->items = scratch_take(&p->s->memory, n * sizeof *list);
    if (n) memcpy(out->items, list, n * sizeof *list);
    free(list);
    return rc;
}

static int call(struct parser *p, struct term *out) {
    enum term_kind kind = is(p, "now") ? TERM_NOW : is(p, "uuid") ? TERM_RANDOM : TERM_NONE;
    if (kind == TERM_NONE) return syntax(p, "a value");
    advance(p);
    *out = (struct term){.kind = kind};
    return expect(p, "(") < 0 ? -1 : expect(p, ")");
}

static int marker(struct parser *p, struct term *out) {
    int named = is(p, ":");
    const char *ignored;
    *out = (struct term){.kind = TERM_MARKER, .marker = p->s->n_markers++};
    advance(p);
    return named ? name(p, &ignored) : 0;
}

static int literal(struct parser *p, struct term *out, enum term_kind kind) {
    out->kind = kind;
    out->text = kind == TERM_STRING ? unquoted(p, &p->now)
                                    : scratch_text(&p->s->memory, p->now.at, p->now.bytes);
    advance(p);
    return 0;
}

static int term(struct parser *p, struct term *out, int depth) {
    *out = (struct term){0};
    if (depth > DEPTH_MAX) return syntax(p, "less nesting");
    if (is(p, "?") || is(p, ":")) return marker(p, out);
    if (is(p, "{")) return items(p, out, "}", depth);
    if (is(p, "[")) return items(p, out, "]", depth);
    if (is(p, "(")) return items(p, out, ")", depth);
    if (is(p, "true") || is(p, "false")) return literal(p, out, TERM_BOOLEAN);
    if (is(p, "null")) return literal(p, out, TERM_NULL);
    switch (p->now.kind) {
    case TOKEN_STRING:
        return literal(p, out, TERM_STRING);
    case TOKEN_NUMBER:
        return literal(p, out, TERM_NUMBER);
    case TOKEN_UUID:
        return literal(p, out, TERM_UUID);
    case TOKEN_HEX:
        return literal(p, out, TERM_HEX);
    case TOKEN_NAME:
        return call(p, out);
    default:
        return syntax(p, "a value");
    }
}

/* ---- definitions ---- */

static int type(struct parser *p, struct type *out) {
    const char *word;
    struct type a, b;
    if (name(p, &word) < 0) return -1;
    if (!is(p, "<")) {
        if (type_by_name(word, out) < 0)
            return refuse(p->f, STN_CQL_E_INVALID, "Unknown type %s", word);
        return 0;
    }
    advance(p);
    int is_map = strcmp(word, "map") == 0, is_frozen = strcmp(word, "frozen") == 0;
    if (type(p, &a) < 0 || (is_map && (expect(p, ",") < 0 || type(p, &b) < 0))) return -1;
    if (is_frozen)
        *out = a;
    else if (is_map)
        type_of_items(STN_CQL_MAP, &a, &b, out);
    else if (strcmp(word, "list") == 0 || strcmp(word, "set") == 0)
        type_of_items(word[0] == 'l' ? STN_CQL_LIST : STN_CQL_SET, &a, NULL, out);
    else
        return refuse(p->f, STN_CQL_E_INVALID, "Unknown type %s", word);
    return expect(p, ">");
}

static void add_key_part(struct statement *s, const char *column) {
    grow(&s->key, &s->key_cap, s->n_key + 1, sizeof *s->key);
    s->key[s->n_key++] = (struct key_part){.name = column};
}

/* (a, b, c) or ((a, b), c) */
static int primary_key(struct parser *p) {
    const char *column;
    if (expect(p, "(") < 0) return -1;
    if (accept(p, "(")) {
        do {
            if (name(p, &column) < 0) return -1;
            add_key_part(p->s, column);
        } while (accept(p, ","));
        if (expect(p, ")") < 0) return -1;
    } else {
        if (name(p, &column) < 0) return -1;
        add_key_part(p->s, column);
    }
    p->s->n_partition = p->s->n_key;
    while (accept(p, ",")) {
        if (name(p, &column) < 0) return -1;
        add_key_part(p->s, column);
    }
    return expect(p, ")");
}

static int definition(struct parser *p) {
    struct statement *s = p->s;
    struct definition d = {0};
    if (name(p, &d.name) < 0 || type(p, &d.type) < 0) return -1;
    if (is(p, "STATIC"))
        return refuse(p->f, STN_CQL_E_INVALID, "static columns are not served here");
    grow(&s->definitions, &s->definitions_cap, s->n_definitions + 1, sizeof d);
    s->definitions[s->n_definitions++] = d;
    if (!accept(p, "PRIMARY")) return 0;
    add_key_part(s, d.name);
    s->n_partition = s->n_key;
    return expect(p, "KEY");
}

static int clustering_order(struct parser *p) {
    const char *column;
    if (expect(p, "ORDER") < 0 || expect(p, "BY") < 0 || expect(p, "(") < 0) return -1;
    do {
        if (name(p, &column) < 0) return -1;
        int descending = is(p, "DESC");
        if (descending || is(p, "ASC")) advance(p);
        for (size_t i = p->s->n_partition; i < p->s->n_key; i++)
            if (strcmp(p->s->key[i].name, column) == 0) p->s->key[i].descending = descending;
    } while (accept(p, ","));
    return expect(p, ")");
}

/* WITH name = value AND ...; what matters here is kept, the rest read over. */
static int properties(struct parser *p) {
    const char *property;
    struct term value;
    if (!accept(p, "WITH")) return 0;
    do {
        if (accept(p, "CLUSTERING")) {
            if (clustering_order(p) < 0) return -1;
            continue;
        }
        if (name(p, &property) < 0 || expect(p, "=") < 0 || term(p, &value, 0) < 0) return -1;
        if (strcmp(property, "replication") == 0) p->s->replication = value;
    } while (accept(p, "AND"));
    return 0;
}

static int create_keyspace(struct parser *p) {
    p->s->kind = STATEMENT_CREATE_KEYSPACE;
    if (if_not_exists(p) < 0 || name(p, &p->s->keyspace) < 0) return -1;
    return properties(p);
}

static int create_table(struct parser *p) {
    p->s->kind = STATEMENT_CREATE_TABLE;
    if (if_not_exists(p) < 0 || table_name(p) < 0 || expect(p, "(") < 0) return -1;
    do {
        if (is(p, ")")) break;
        int rc = 0;
        if (accept(p, "PRIMARY"))
            rc = expect(p, "KEY") < 0 ? -1 : primary_key(p);
        else
            rc = definition(p);
        if (rc < 0) return -1;
    } while (accept(p, ","));
    if (expect(p, ")") < 0) return -1;
    return properties(p);
}

static int create(struct parser *p) {
    if (accept(p, "KEYSPACE")) return create_keyspace(p);
    if (accept(p, "TABLE") || accept(p, "COLUMNFAMILY")) return create_table(p);
    return syntax(p, "KEYSPACE or TABLE");
}

static int alter(struct parser *p) {
    if (accept(p, "KEYSPACE")) {
        p->s->kind = STATEMENT_ALTER_KEYSPACE;
        return name(p, &p->s->keyspace) < 0 ? -1 : properties(p);
    }
    p->s->kind = STATEMENT_ALTER_TABLE;
    if (expect(p, "TABLE") < 0 || table_name(p) < 0) return -1;
    if (is(p, "WITH")) return properties(p);
    if (expect(p, "ADD") < 0 || if_not_exists(p) < 0) return -1;
    int bracketed = accept(p, "(");
    do {
        if (definition(p) < 0) return -1;
    } while (accept(p, ","));
    return bracketed ? expect(p, ")") : 0;
}

static int drop(struct parser *p) {
    if (accept(p, "KEYSPACE")) {
        p->s->kind = STATEMENT_DROP_KEYSPACE;
        return if_exists(p) < 0 ? -1 : name(p, &p->s->keyspace);
    }
    p->s->kind = STATEMENT_DROP_TABLE;
    if (expect(p, "TABLE") < 0 || if_exists(p) < 0) return -1;
    return table_name(p);
}

static int truncate_table(struct parser *p) {
    p->s->kind = STATEMENT_TRUNCATE;
    accept(p, "TABLE");
    return table_name(p);
}

/* ---- data ---- */

static struct assignment *add_assignment(struct statement *s) {
    grow(&s->assignments, &s->assignments_cap, s->n_assignments + 1, sizeof *s->assignments);
    struct assignment *a = &s->assignments[s->n_assignments++];
    *a = (struct assignment){0};
    return a;
}

static int using_clause(struct parser *p) {
    if (!accept(p, "USING")) return 0;
    do {
        int is_timestamp = is(p, "TIMESTAMP");
        if (!is_timestamp && !is(p, "TTL")) return syntax(p, "TIMESTAMP or TTL");
        advance(p);
        if (term(p, is_timestamp ? &p->s->timestamp : &p->s->ttl, 0) < 0) return -1;
    } while (accept(p, "AND"));
    return 0;
}

static int operator(struct parser *p, enum relation_op *out) {
    static const struct {
        const char *sign;
        enum relation_op op;
    } ops[] = {{"=", OP_EQUAL},       {"<", OP_LESS},       {"<=", OP_LESS_EQUAL}, {">", OP_MORE},
               {">=", OP_MORE_EQUAL}, {"!=", OP_NOT_EQUAL}, {"IN", OP_IN}};
    for (size_t i = 0; i < STN_COUNT(ops); i++)
        if (accept(p, ops[i].sign)) {
            *out = ops[i].op;
            return 0;
        }
    return syntax(p, "an operator");
}

static int token_call(struct parser *p) {
    const char *ignored;
    do {
        if (name(p, &ignored) < 0) return -1;
    } while (accept(p, ","));
    return expect(p, ")");
}

static int relations(struct parser *p, struct relation **list, size_t *n, size_t *cap) {
    do {
        struct relation r = {0};
        if (name(p, &r.column) < 0) return -1;
        if (strcmp(r.column, "token") == 0 && accept(p, "(")) {
            if (token_call(p) < 0) return -1;
            r.column = NULL;
        }
        if (operator(p, &r.op) < 0 || term(p, &r.value, 0) < 0) return -1;
        grow(list, cap, *n + 1, sizeof r);
        (*list)[(*n)++] = r;
    } while (accept(p, "AND"));
    return 0;
}

static int where(struct parser *p) {
    if (expect(p, "WHERE") < 0) return -1;
    return relations(p, &p->s->where, &p->s->n_where, &p->s->where_cap);
}

/* IF EXISTS, IF a = ? AND .. */
static int conditions(struct parser *p) {
    if (!accept(p, "IF")) return 0;
    if (accept(p, "EXISTS")) {
        p->s->if_exists = 1;
        return 0;
    }
    return relations(p, &p->s->conditions, &p->s->n_conditions, &p->s->conditions_cap);
}

static int insert(struct parser *p) {
    struct statement *s = p->s;
    s->kind = STATEMENT_INSERT;
    if (expect(p, "INTO") < 0 || table_name(p) < 0 || expect(p, "(") < 0) return -1;
    do {
        if (name(p, &add_assignment(s)->column) < 0) return -1;
    } while (accept(p, ","));
    if (expect(p, ")") < 0 || expect(p, "VALUES") < 0 || expect(p, "(") < 0) return -1;
    for (size_t i = 0; i < s->n_assignments; i++)
        if ((i && expect(p, ",") < 0) || term(p, &s->assignments[i].value, 0) < 0) return -1;
    if (!is(p, ")")) return refuse(p->f, STN_CQL_E_INVALID, "Unmatched column names/values");
    advance(p);
    return if_not_exists(p) < 0 ? -1 : using_clause(p);
}

static int update(struct parser *p) {
    p->s->kind = STATEMENT_UPDATE;
    if (table_name(p) < 0 || using_clause(p) < 0 || expect(p, "SET") < 0) return -1;
    do {
        struct assignment *a = add_assignment(p->s);
        if (name(p, &a->column) < 0 || expect(p, "=") < 0 || term(p, &a->value, 0) < 0) return -1;
    } while (accept(p, ","));
    return where(p) < 0 ? -1 : conditions(p);
}

static int delete (struct parser *p) {
    p->s->kind = STATEMENT_DELETE;
    while (!is(p, "FROM")) {
        if (name(p, &add_assignment(p->s)->column) < 0) return -1;
        if (!accept(p, ",") && !is(p, "FROM")) return syntax(p, "FROM");
    }
    advance(p);
    if (table_name(p) < 0 || using_clause(p) < 0 || where(p) < 0) return -1;
    return conditions(p);
}

/* ---- SELECT ---- */

/* name(..) after its name: token(a, b), count(*), writetime(c), toTimestamp(now()) and its like */
static int selector_call(struct parser *p, struct selector *sel) {
    const char *function = sel->column, *argument = "*";
    char shown[256];
    struct term ignored;
    if (strcmp(function, "count") == 0) {
        sel->kind = SELECT_COUNT;
        advance(p); /* '*' or 1 */
    } else if (strcmp(function, "token") == 0 || strcmp(function, "writetime") == 0) {
        sel->kind = function[0] == 't' ? SELECT_TOKEN : SELECT_WRITETIME;
        if (name(p, &argument) < 0) return -1;
        sel->column = argument;
        while (accept(p, ","))
            if (name(p, &argument) < 0) return -1;
    } else if (strcmp(function, "totimestamp") == 0) {
        sel->kind = SELECT_NOW;
        argument = "now()";
        if (call(p, &ignored) < 0) return -1;
    } else {
        return refuse(p->f, STN_CQL_E_INVALID, "Unknown function '%.60s'", function);
    }
    snprintf(shown, sizeof shown, "system.%s(%s)", function, argument);
    sel->name =
        sel->kind == SELECT_COUNT ? "count" : scratch_text(&p->s->memory, shown, strlen(shown));
    return expect(p, ")");
}

static int selector(struct parser *p) {
    struct statement *s = p->s;
    struct selector sel = {SELECT_COLUMN, NULL, NULL};
    if (name(p, &sel.column) < 0) return -1;
    sel.name = sel.column;
    if (accept(p, "(") && selector_call(p, &sel) < 0) return -1;
    if (accept(p, "AS") && name(p, &sel.name) < 0) return -1;
    grow(&s->selectors, &s->selectors_cap, s->n_selectors + 1, sizeof sel);
    s->selectors[s->n_selectors++] = sel;
    return 0;
}

static int select_rows(struct parser *p) {
    struct statement *s = p->s;
    s->kind = STATEMENT_SELECT;
    s->distinct = accept(p, "DISTINCT");
    s->everything = accept(p, "*");
    while (!s->everything) {
        if (selector(p) < 0) return -1;
        if (!accept(p, ",")) break;
    }
    if (expect(p, "FROM") < 0 || table_name(p) < 0) return -1;
    if (is(p, "WHERE") && where(p) < 0) return -1;
    if (is(p, "ORDER") || is(p, "GROUP"))
        return refuse(p->f, STN_CQL_E_INVALID, "ORDER BY and GROUP BY are not served here");
    if (accept(p, "LIMIT") && term(p, &s->limit, 0) < 0) return -1;
    if (accept(p, "ALLOW")) {
        if (expect(p, "FILTERING") < 0) return -1;
        s->allow_filtering = 1;
    }
    return 0;
}

static int use(struct parser *p) {
    p->s->kind = STATEMENT_USE;
    return name(p, &p->s->keyspace);
}

int statement_parse(struct statement *s, const char *text, size_t bytes, struct failure *f) {
    static const struct {
        const char *word;
        int (*parse)(struct parser *p);
    } kinds[] = {{"SELECT", select_rows}, {"INSERT", insert}, {"UPDATE", update},
                 {"DELETE", delete},      {"CREATE", create}, {"ALTER", alter},
                 {"DROP", drop},          {"USE", use},       {"TRUNCATE", truncate_table}};
    struct parser p = {.lexer = {text, text, text + bytes}, .s = s, .f = f};
    *s = (struct statement){0};
    advance(&p);
    for (size_t i = 0; i < STN_COUNT(kinds); i++) {
        if (!accept(&p, kinds[i].word)) continue;
        if (kinds[i].parse(&p) < 0) return -1;
        accept(&p, ";");
        return p.now.kind == TOKEN_END ? 0 : syntax(&p, "the end of the statement");
    }
    return syntax(&p, "a statement");
}

void statement_free(struct statement *s) {
    free(s->definitions);
    free(s->key);
    free(s->assignments);
    free(s->where);
    free(s->conditions);
    free(s->selectors);
    scratch_free(&s->memory);
    *s = (struct statement){0};
}
