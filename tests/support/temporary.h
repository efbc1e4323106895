/* A directory of a test's own, below $TMPDIR or /tmp, and the way to be rid of it. */
#ifndef TEST_TEMPORARY_H
#define TEST_TEMPORARY_H

/* New directory; its path is malloc'ed. Ends the program if there is none to be had. */
char *test_dir_make(void);
/* Removes it with all that is in it, frees the path and sets it to NULL. NULL is fine. */
void test_dir_remove(char **dir);
/* "DIR/NAME" in one of eight static buffers, used in turn. */
const char *test_path(const char *dir, const char *name);

#endif
