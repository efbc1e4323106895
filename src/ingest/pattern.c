/* A pattern is compiled into parts, one a byte or placeholder. Expanding writes them out; matching
 * runs them as a small automaton, in time linear in path and pattern whatever the placeholders. */
#include "ingest/pattern.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

enum part_kind { BYTE, STEM, NAME, CLASS, SPLIT, DIR, DIR_SLASH, IMAGE_STEM };

struct stn_pattern_part {
    enum part_kind kind;
    char byte;
};

#define PATTERN_BYTES_MAX 1024

static const struct {
    const char *word;
    enum part_kind kind;
} placeholders[] = {
    {"{stem}", STEM}, {"{name}", NAME}, {"{class}", CLASS}, {"{split}", SPLIT}, {"{dir}", DIR},
};

int stn_field_name_ok(const char *name) {
    static const char *const taken[] = {"id",    "run",   "path",   "label",    "class",
                                        "split", "width", "height", "channels", "format"};
    size_t n = strlen(name);
    for (size_t i = 0; i < STN_COUNT(taken); i++)
        if (strcmp(name, taken[i]) == 0) return 0;
    return n > 0 && n < STN_FIELD_NAME_BYTES && !(name[0] >= '0' && name[0] <= '9') &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") == n;
}

static int ends_with(const char *s, const char *end) {
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcasecmp(s + n - m, end) == 0;
}

static enum sterna_kind kind_of(const char *name, const char *pattern) {
    static const struct {
        const char *suffix;
        enum sterna_kind kind;
    } rows[] = {{".txt", STERNA_KIND_TEXT},  {".json", STERNA_KIND_JSON},
                {".npy", STERNA_KIND_NPY},   {".png", STERNA_KIND_IMAGE},
                {".jpg", STERNA_KIND_IMAGE}, {".jpeg", STERNA_KIND_IMAGE},
                {".webp", STERNA_KIND_IMAGE}};
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        if (!ends_with(pattern, rows[i].suffix)) continue;
        int mask = strcmp(name, "mask") == 0 || ends_with(name, "_mask");
        return rows[i].kind == STERNA_KIND_IMAGE && mask ? STERNA_KIND_MASK : rows[i].kind;
    }
    return STERNA_KIND_BYTES;
}

/* Appends what stands at *at and moves behind it. 0 if it is an unknown placeholder. */
static int compile_one(struct stn_pattern *p, const char **at) {
    struct stn_pattern_part part = {BYTE, **at};
    size_t n = 1;
    if (**at == '{') {
        size_t i = 0;
        while (i < STN_COUNT(placeholders) &&
               strncmp(*at, placeholders[i].word, strlen(placeholders[i].word)) != 0)
            i++;
        if (i == STN_COUNT(placeholders)) return 0;
        part.kind = placeholders[i].kind;
        n = strlen(placeholders[i].word);
        if (part.kind == DIR && (*at)[n] == '/') {
            part.kind = DIR_SLASH;
            n++;
        }
    }
    if (part.kind != BYTE) p->tail = p->n_parts + 1;
    p->parts[p->n_parts++] = part;
    *at += n;
    return 1;
}

static int compile(struct stn_pattern *p, const char *text, struct sterna_error *err) {
    size_t bytes = strlen(text);
    if (bytes > PATTERN_BYTES_MAX)
        return stn_fail(err, STERNA_EINVAL, "field %s: the pattern is longer than %d bytes",
                        p->name, PATTERN_BYTES_MAX);
    p->parts = stn_array(bytes + 1, sizeof *p->parts);
    if (!p->parts) return stn_fail_memory(err, "a field's pattern");
    if (strncmp(text, "./", 2) == 0) text += 2;
    if (text[0] == '.' && text[1] != '.' && text[1] != '\0') {
        p->parts[p->n_parts++].kind = IMAGE_STEM;
        p->tail = 1;
    }
    while (*text)
        if (!compile_one(p, &text))
            return stn_fail(err, STERNA_EINVAL,
                            "field %s: \"%s\" begins with no known placeholder; there are {stem} "
                            "{name} {dir} {class} {split}",
                            p->name, text);
    if (p->tail > 0) return STERNA_OK;
    return stn_fail(err, STERNA_EINVAL,
                    "field %s: the pattern would pair every image with the same file; begin it "
                    "with a dot (.txt) or use a placeholder (masks/{stem}.png)",
                    p->name);
}

int stn_pattern_init(struct stn_pattern *p, const struct sterna_ingest_field *field,
                     struct sterna_error *err) {
    *p = (struct stn_pattern){0};
    const char *text = field->pattern ? field->pattern : "";
    if (!field->name || !stn_field_name_ok(field->name) || strcmp(field->name, "image") == 0)
        return stn_fail(err, STERNA_EINVAL,
                        "field \"%s\": a name is [a-z_][a-z0-9_]*, at most %d long, and neither "
                        "image nor a built-in column",
                        field->name ? field->name : "", STN_FIELD_NAME_BYTES - 1);
    if (field->kind < -1 || field->kind > STERNA_KIND_NPY)
        return stn_fail(err, STERNA_EINVAL, "field %s: there is no kind %d", field->name,
                        field->kind);
    snprintf(p->name, sizeof p->name, "%s", field->name);
    p->kind = field->kind < 0 ? kind_of(p->name, text) : (enum sterna_kind)field->kind;
    int rc = compile(p, text, err);
    if (rc < 0) stn_pattern_fini(p);
    return rc;
}

void stn_pattern_fini(struct stn_pattern *p) {
    free(p->parts);
    *p = (struct stn_pattern){0};
}

/* ---- expanding ---- */

struct names { /* of one image: lengths of the parts of its path */
    size_t dir_bytes, name_at, stem_bytes;
};

static struct names names_of(const struct stn_place *place) {
    struct names n = {0};
    for (size_t i = 0; i < place->path_bytes; i++)
        if (place->path[i] == '/') n = (struct names){i, i + 1, 0};
    n.stem_bytes = place->path_bytes - n.name_at;
    for (size_t i = place->path_bytes; i > n.name_at + 1; i--) /* ".x" has no suffix */
        if (place->path[i - 1] == '.') {
            n.stem_bytes = i - 1 - n.name_at;
            break;
        }
    return n;
}

struct piece {
    const char *at;
    size_t bytes;
};

/* What the part stands for; at is NULL if the image has no such thing. */
static struct piece piece_of(const struct stn_pattern_part *part, const struct stn_place *place,
                             const struct names *n) {
    switch (part->kind) {
    case BYTE:
        return (struct piece){&part->byte, 1};
    case STEM:
        return (struct piece){place->path + n->name_at, n->stem_bytes};
    case NAME:
        return (struct piece){place->path + n->name_at, place->path_bytes - n->name_at};
    case CLASS:
        return (struct piece){place->class_name, place->class_bytes};
    case SPLIT:
        return (struct piece){place->split, place->split_bytes};
    case DIR:
        return (struct piece){place->path, n->dir_bytes};
    case DIR_SLASH:
        return (struct piece){place->path, n->name_at};
    case IMAGE_STEM:
        return (struct piece){place->path, n->name_at + n->stem_bytes};
    }
    return (struct piece){NULL, 0};
}

int stn_pattern_expand(const struct stn_pattern *p, const struct stn_place *place, char **path,
                       size_t *path_cap) {
    struct names n = names_of(place);
    size_t used = 0;
    for (size_t i = 0; i < p->n_parts; i++) {
        struct piece piece = piece_of(&p->parts[i], place, &n);
        if (!piece.at) return 0;
        if (stn_grow((void **)path, path_cap, used + piece.bytes + 1, 1) < 0) return STERNA_ENOMEM;
        memcpy(*path + used, piece.at, piece.bytes);
        used += piece.bytes;
    }
    (*path)[used] = '\0';
    return 1;
}

/* ---- matching ---- */

/* State i: parts before i are matched, or part i is a placeholder that has begun. */
typedef unsigned char states[PATTERN_BYTES_MAX + 2];

/* Reaching a part that may be empty reaches the one behind it too. */
static void reach(const struct stn_pattern *p, unsigned char *set, size_t i) {
    set[i] = 1;
    while (i < p->n_parts && (p->parts[i].kind == DIR || p->parts[i].kind == DIR_SLASH))
        set[++i] = 1;
}

static void step(const struct stn_pattern *p, const unsigned char *from, unsigned char *to,
                 char c) {
    memset(to, 0, p->n_parts + 1);
    for (size_t i = 0; i < p->n_parts; i++) {
        if (!from[i]) continue;
        switch (p->parts[i].kind) {
        case BYTE:
            if (p->parts[i].byte == c) reach(p, to, i + 1);
            break;
        case DIR:
            reach(p, to, i);
            break;
        case DIR_SLASH:
            to[i] = 1; /* begun: it must go on to a slash now */
            if (c == '/') reach(p, to, i + 1);
            break;
        case IMAGE_STEM: /* at least one byte, slashes too */
            to[i] = 1;
            reach(p, to, i + 1);
            break;
        default: /* at least one byte, no slash */
            if (c == '/') break;
            to[i] = 1;
            reach(p, to, i + 1);
        }
    }
}

/* Runs the automaton over all bytes; the states it is in then are in `set`. */
static void run(const struct stn_pattern *p, unsigned char *set, const char *path, size_t bytes) {
    states other;
    memset(set, 0, p->n_parts + 1);
    reach(p, set, 0);
    for (size_t i = 0; i < bytes; i++) {
        step(p, set, other, path[i]);
        memcpy(set, other, p->n_parts + 1);
    }
}

int stn_pattern_matches(const struct stn_pattern *p, const char *path, size_t path_bytes) {
    size_t tail_bytes = p->n_parts - p->tail; /* most files differ here: look before running */
    if (path_bytes < tail_bytes) return 0;
    for (size_t i = 0; i < tail_bytes; i++)
        if (path[path_bytes - tail_bytes + i] != p->parts[p->tail + i].byte) return 0;
    states set;
    run(p, set, path, path_bytes);
    return set[p->n_parts];
}

/* 1 if parts[..i) end in "NAME/" with at least one plain byte in NAME. */
static int ends_in_named_directory(const struct stn_pattern *p, size_t i) {
    if (i == 0 || p->parts[i - 1].kind != BYTE || p->parts[i - 1].byte != '/') return 0;
    for (i--; i > 0 && !(p->parts[i - 1].kind == BYTE && p->parts[i - 1].byte == '/'); i--) {
        if (p->parts[i - 1].kind == DIR_SLASH) return 0;
        if (p->parts[i - 1].kind == BYTE) return 1;
    }
    return 0;
}

int stn_pattern_names_directory(const struct stn_pattern *p, const char *path, size_t path_bytes) {
    states set, after;
    run(p, set, path, path_bytes);
    step(p, set, after, '/');
    for (size_t i = 0; i <= p->n_parts; i++)
        if (after[i] && ends_in_named_directory(p, i)) return 1;
    return 0;
}
