/* Patterns of fields' files: "NAME\nPATTERN\nPATH". What a pattern makes of a path, it matches. */
#include <stdlib.h>
#include <string.h>

#include "fuzz/fuzz.h"
#include "ingest/layout.h"
#include "ingest/pattern.h"

/* The next line, as a string of its own; the rest begins behind it. */
static char *take_line(const uint8_t **at, size_t *left) {
    const uint8_t *end = memchr(*at, '\n', *left);
    size_t n = end ? (size_t)(end - *at) : *left;
    char *line = strndup((const char *)*at, n);
    if (!line) abort();
    *at += n + (end != NULL);
    *left -= n + (end != NULL);
    return line;
}

/* A path that a walk could find: no empty names, none that begin with a dot. */
static int is_walked(const char *path) {
    size_t n = strlen(path);
    return n > 0 && path[0] != '/' && path[0] != '.' && path[n - 1] != '/' && !strstr(path, "//") &&
           !strstr(path, "/.");
}

static void use(const struct stn_pattern *p, const char *path) {
    char first[] = "a", *classes[] = {first}, *file = NULL;
    struct stn_layout layout = {.classes = classes, .n_classes = 1};
    size_t cap = 0;
    for (layout.has_splits = 0; layout.has_splits < 2; layout.has_splits++) {
        struct stn_place place;
        stn_layout_place(&layout, path, strlen(path), &place);
        claim(place.class_name == NULL || place.class_bytes <= place.path_bytes);
        int has = stn_pattern_expand(p, &place, &file, &cap);
        claim(has == 0 || has == 1);
        if (has) claim(stn_pattern_matches(p, file, strlen(file)));
    }
    (void)stn_pattern_matches(p, path, strlen(path));
    (void)stn_pattern_names_directory(p, path, strlen(path));
    free(file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *name = take_line(&data, &size), *pattern = take_line(&data, &size);
    char *path = take_line(&data, &size);
    struct sterna_ingest_field field = {name, pattern, -1};
    struct sterna_error err = {0};
    struct stn_pattern p;
    int rc = stn_pattern_init(&p, &field, &err);
    claim(rc == STERNA_OK || (err.code == rc && err.message[0]));
    if (rc == STERNA_OK) {
        claim(stn_field_name_ok(name));
        if (is_walked(path)) use(&p, path);
        stn_pattern_fini(&p);
    }
    free(name);
    free(pattern);
    free(path);
    return 0;
}
