#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ingest/walk.h"
#include "support/tree.h"

/* What a walk told: one line an entry, sorted: "path" or "path!problem". */
struct told {
    char *lines[64];
    size_t n;
    int stop_at, open_fds;
};

static int by_bytes(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int note(void *ctx, const struct stn_walk_entry *e) {
    struct told *t = ctx;
    char line[8192];
    assert_int_equal(strlen(e->path), e->path_bytes);
    const char *slash = strrchr(e->path, '/');
    assert_string_equal(e->name, slash ? slash + 1 : e->path);
    if (!e->problem) assert_int_equal(faccessat(e->dir_fd, e->name, F_OK, 0), 0);
    snprintf(line, sizeof line, "%s%s%s", e->path, e->problem ? "!" : "",
             e->problem ? e->problem : "");
    assert_true(t->n < 64);
    t->lines[t->n++] = strdup(line);
    return t->stop_at && (int)t->n == t->stop_at ? 77 : 0;
}

static void walk_and_compare(const struct tree *tree, const struct stn_walk_options *options,
                             const char *const *want, size_t n) {
    struct told t = {0};
    assert_int_equal(stn_walk(tree->fd, options, note, &t, NULL), STERNA_OK);
    qsort(t.lines, t.n, sizeof *t.lines, by_bytes);
    for (size_t i = 0; i < n && i < t.n; i++) assert_string_equal(t.lines[i], want[i]);
    assert_int_equal(t.n, n);
    for (size_t i = 0; i < t.n; i++) free(t.lines[i]);
}

static void test_walk_finds_files_at_every_depth_and_no_hidden_ones(void **state) {
    struct tree t;
    (void)state;
    tree_open(&t);
    tree_text(&t, "a.jpg", "");
    tree_text(&t, "cat/b.jpg", "");
    tree_text(&t, "cat/deep/er/c.jpg", "");
    tree_text(&t, ".hidden/d.jpg", "");
    tree_text(&t, "cat/.e.jpg", "");
    tree_mkdir(&t, "empty");
    static const char *const want[] = {"a.jpg", "cat/b.jpg", "cat/deep/er/c.jpg"};
    walk_and_compare(&t, &(struct stn_walk_options){0}, want, 3);
    static const char *const below[] = {"cat/deep/er/c.jpg"};
    walk_and_compare(&t, &(struct stn_walk_options){.start = "cat/deep"}, below, 1);
    tree_close(&t);
}

static void test_walk_follows_links_and_reports_loops_and_dead_ends(void **state) {
    struct tree t;
    (void)state;
    tree_open(&t);
    tree_text(&t, "cat/a.jpg", "");
    tree_link(&t, "../cat", "cat/loop");
    tree_link(&t, ".", "self");
    tree_link(&t, "cat", "tom");
    tree_link(&t, "cat/a.jpg", "link.jpg");
    tree_link(&t, "nowhere", "gone.jpg");
    tree_link(&t, "ring", "ring");
    static const char *const want[] = {"cat/a.jpg",
                                       "cat/loop!directory is a link back to one it lies in",
                                       "gone.jpg!is a link to nothing",
                                       "link.jpg",
                                       "ring!cannot be looked at",
                                       "self!directory is a link back to one it lies in",
                                       "tom/a.jpg",
                                       "tom/loop!directory is a link back to one it lies in"};
    walk_and_compare(&t, &(struct stn_walk_options){0}, want, 8);
    tree_close(&t);
}

static void test_walk_never_opens_pipes_and_sockets(void **state) {
    struct tree t;
    (void)state;
    tree_open(&t);
    assert_int_equal(mkfifoat(t.fd, "pipe.jpg", 0600), 0);
    tree_link(&t, "pipe.jpg", "to-pipe.jpg");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%.90s/socket", t.path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    static const char *const want[] = {"pipe.jpg!is no regular file", "socket!is no regular file",
                                       "to-pipe.jpg!is no regular file"};
    walk_and_compare(&t, &(struct stn_walk_options){0}, want, 3);
    close(fd);
    tree_close(&t);
}

static void test_walk_gives_names_as_raw_bytes(void **state) {
    struct tree t;
    (void)state;
    tree_open(&t);
    tree_text(&t, "new\nline/quo\"te.jpg", "");
    tree_text(&t, "not\xff\xfeutf8.jpg", "");
    tree_text(&t, " ", "");
    static const char *const want[] = {" ", "new\nline/quo\"te.jpg", "not\xff\xfeutf8.jpg"};
    walk_and_compare(&t, &(struct stn_walk_options){0}, want, 3);
    tree_close(&t);
}

static void test_walk_skips_one_directory(void **state) {
    struct tree t;
    struct stat st;
    (void)state;
    tree_open(&t);
    tree_text(&t, "store/data.mdb", "");
    tree_text(&t, "a.jpg", "");
    assert_int_equal(fstatat(t.fd, "store", &st, 0), 0);
    struct stn_walk_inode store = {st.st_dev, st.st_ino};
    static const char *const want[] = {"a.jpg"};
    walk_and_compare(&t, &(struct stn_walk_options){.skip = &store}, want, 1);
    tree_close(&t);
}

static void test_walk_stops_when_told(void **state) {
    struct tree t;
    struct told told = {.stop_at = 2};
    (void)state;
    tree_open(&t);
    for (int i = 0; i < 5; i++) {
        char name[32];
        snprintf(name, sizeof name, "d%d/a.jpg", i);
        tree_text(&t, name, "");
    }
    assert_int_equal(stn_walk(t.fd, &(struct stn_walk_options){0}, note, &told, NULL), 77);
    assert_int_equal(told.n, 2);
    for (size_t i = 0; i < told.n; i++) free(told.lines[i]);
    tree_close(&t);
}

static int open_it(void *ctx, const struct stn_walk_entry *e) {
    struct told *t = ctx;
    assert_null(e->problem);
    t->n++;
    DIR *fds = opendir("/proc/self/fd");
    int n = 0;
    while (readdir(fds)) n++;
    closedir(fds);
    t->open_fds = n > t->open_fds ? n : t->open_fds;
    int fd = stn_walk_open(t->stop_at, e->path, O_RDONLY);
    assert_true(fd >= 0);
    char byte;
    assert_int_equal(read(fd, &byte, 1), 1);
    close(fd);
    return 0;
}

static void test_walk_reaches_the_bottom_of_a_deep_tree_with_few_descriptors(void **state) {
    enum { DEPTH = 2000 };
    struct tree t;
    (void)state;
    tree_open(&t);
    int at = dup(t.fd);
    for (int i = 0; i < DEPTH; i++) { /* some 14 kB of path, far over PATH_MAX */
        assert_int_equal(mkdirat(at, "level-x", 0755), 0);
        int next = openat(at, "level-x", O_RDONLY | O_DIRECTORY);
        close(at);
        at = next;
    }
    int fd = openat(at, "bottom.jpg", O_WRONLY | O_CREAT, 0644);
    assert_int_equal(write(fd, "x", 1), 1);
    close(fd);
    close(at);
    struct told told = {.stop_at = t.fd};
    assert_int_equal(stn_walk(t.fd, &(struct stn_walk_options){0}, open_it, &told, NULL),
                     STERNA_OK);
    assert_int_equal(told.n, 1);
    assert_true(told.open_fds < 20);
    tree_close(&t);
}

static void test_walk_open_refuses_a_name_longer_than_any_can_be(void **state) {
    struct tree t;
    static char name[6000];
    (void)state;
    tree_open(&t);
    memset(name, 'x', sizeof name - 1);
    assert_int_equal(stn_walk_open(t.fd, name, O_RDONLY), -1);
    assert_int_equal(errno, ENAMETOOLONG);
    tree_close(&t);
}

/* As a user whom permissions bind: a child gives root up. */
static void test_walk_reports_a_directory_it_may_not_read(void **state) {
    struct tree t;
    (void)state;
    tree_open(&t);
    tree_text(&t, "locked/a.jpg", "");
    tree_text(&t, "open/b.jpg", "");
    assert_int_equal(fchmodat(t.fd, "locked", 0, 0), 0);
    assert_int_equal(chmod(t.path, 0755), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct told told = {0};
        if (geteuid() == 0 && setuid(65534) != 0) _exit(2);
        if (stn_walk(t.fd, &(struct stn_walk_options){0}, note, &told, NULL) != 0) _exit(3);
        qsort(told.lines, told.n, sizeof *told.lines, by_bytes);
        int ok = told.n == 2 && strcmp(told.lines[0], "locked!directory cannot be read") == 0 &&
                 strcmp(told.lines[1], "open/b.jpg") == 0;
        _exit(ok ? 0 : 4);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(fchmodat(t.fd, "locked", 0755, 0), 0);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    tree_close(&t);
}

static void test_walk_without_descriptors_is_an_error(void **state) {
    struct tree t;
    struct told told = {0};
    struct rlimit old, none;
    struct sterna_error err = {0};
    (void)state;
    tree_open(&t);
    tree_text(&t, "a.jpg", "");
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    none = (struct rlimit){(rlim_t)t.fd, old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    int rc = stn_walk(t.fd, &(struct stn_walk_options){0}, note, &told, &err);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    assert_int_equal(rc, STERNA_EIO);
    assert_int_equal(err.sys_errno, EMFILE);
    tree_close(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_walk_finds_files_at_every_depth_and_no_hidden_ones),
        cmocka_unit_test(test_walk_follows_links_and_reports_loops_and_dead_ends),
        cmocka_unit_test(test_walk_never_opens_pipes_and_sockets),
        cmocka_unit_test(test_walk_gives_names_as_raw_bytes),
        cmocka_unit_test(test_walk_skips_one_directory),
        cmocka_unit_test(test_walk_stops_when_told),
        cmocka_unit_test(test_walk_reaches_the_bottom_of_a_deep_tree_with_few_descriptors),
        cmocka_unit_test(test_walk_open_refuses_a_name_longer_than_any_can_be),
        cmocka_unit_test(test_walk_reports_a_directory_it_may_not_read),
        cmocka_unit_test(test_walk_without_descriptors_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
