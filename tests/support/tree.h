/* A temporary directory for one test, and files in it. A failure ends the test. */
#ifndef TEST_TREE_H
#define TEST_TREE_H

#include <stddef.h>

struct tree {
    char path[512];
    int fd;
};

void tree_open(struct tree *t);
void tree_close(struct tree *t); /* removes it with all that is in it, however deep */

/* Paths are relative to the tree; directories above are made as needed. */
void tree_write(const struct tree *t, const char *path, const void *data, size_t bytes);
void tree_text(const struct tree *t, const char *path, const char *text);
void tree_mkdir(const struct tree *t, const char *path);
void tree_link(const struct tree *t, const char *target, const char *path); /* symbolic */
/* PATH below the tree, in one of a few static buffers. */
const char *tree_path(const struct tree *t, const char *path);

#endif
