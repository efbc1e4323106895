/* A data set in a cluster (of a server in memory): ingests, syncs, other tools' tables. */
#include "support/check.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cassandra/ask.h"
#include "cassandra/runs.h"
#include "sterna/sterna.h"
#include "support/cqlmem.h"
#include "support/pictures.h"
#include "support/tree.h"

struct fixture {
    struct cqlmem server;
    struct tree home, images;
    struct stn_cassandra direct; /* a session of the test's own */
    struct sterna_error err;
    char url[160];
};

#define ok(f, call)                                                                                \
    do {                                                                                           \
        stn_error_clear(&(f)->err);                                                                \
        int ok_rc = (call);                                                                        \
        if (ok_rc != STERNA_OK) fail_msg("%s: %d: %s", #call, ok_rc, (f)->err.message);            \
    } while (0)

#define fails(f, code_, text, call)                                                                \
    do {                                                                                           \
        stn_error_clear(&(f)->err);                                                                \
        int fails_rc = (call);                                                                     \
        if (fails_rc != (code_)) fail_msg("%s: %d: %s", #call, fails_rc, (f)->err.message);        \
        if (!strstr((f)->err.message, text))                                                       \
            fail_msg("%s: '%s' says nothing of '%s'", #call, (f)->err.message, text);              \
    } while (0)

static void connect_directly(struct fixture *f) {
    char host[64];
    snprintf(host, sizeof host, "%s", f->server.address);
    char *colon = strrchr(host, ':');
    *colon = '\0';
    const struct stn_host contact = {host, (uint16_t)atoi(colon + 1)};
    ok(f,
       stn_session_open(&f->direct.session,
                        &(struct stn_session_options){.hosts = &contact, .n_hosts = 1}, &f->err));
}

static void use_cache(const struct fixture *f, const char *name) {
    setenv("STERNA_CACHE", tree_path(&f->home, name), 1);
}

static int setup(void **state) {
    struct fixture *f = calloc(1, sizeof *f);
    if (!cqlmem_open(&f->server, NULL)) {
        free(f);
        return -1;
    }
    tree_open(&f->home);
    tree_open(&f->images);
    snprintf(f->url, sizeof f->url, "cassandra://%s/ks/birds", f->server.address);
    use_cache(f, "one");
    connect_directly(f);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    stn_session_close(&f->direct.session);
    cqlmem_close(&f->server);
    tree_close(&f->home);
    tree_close(&f->images);
    free(f);
    return 0;
}

/* ---- help ---- */

static void cql(struct fixture *f, const char *statement) {
    ok(f, stn_ask(&f->direct, STN_ASK_STATEMENT, strdup(statement), NULL, 0, NULL, &f->err));
}

static void picture(const struct fixture *f, const char *path, unsigned seed) {
    struct picture p = picture_png(8, 6, 3, seed);
    tree_write(&f->images, path, p.data, p.bytes);
    free(p.data);
}

static int open_store(struct fixture *f, sterna_store **store, enum sterna_open_mode mode) {
    const struct sterna_store_options o = {
        .struct_size = sizeof o, .mode = mode, .replication = "1"};
    return sterna_store_open(store, f->url, &o, &f->err);
}

/* Ingests the folder; the run's number. */
static uint64_t ingest(struct fixture *f, const char *metadata, int replace) {
    sterna_store *store;
    struct sterna_ingest_options o;
    struct sterna_ingest_result result;
    sterna_ingest_options_init(&o);
    o.metadata_file = metadata;
    o.replace = replace;
    ok(f, open_store(f, &store, STERNA_OPEN_CREATE));
    ok(f, sterna_ingest_folder(store, f->images.path, &o, &result, &f->err));
    sterna_store_close(&store);
    return result.run;
}

struct dump {
    char *text;
    size_t bytes, cap;
};

static void dump_add(struct dump *d, const char *text, size_t bytes) {
    assert_ok(stn_grow((void **)&d->text, &d->cap, d->bytes + bytes + 1, 1));
    memcpy(d->text + d->bytes, text, bytes);
    d->bytes += bytes;
    d->text[d->bytes] = '\0';
}

static int dump_row(void *ctx, const char *const *names, const struct sterna_value *values,
                    size_t n) {
    char number[64];
    for (size_t i = 0; i < n; i++) {
        const struct sterna_value *v = &values[i];
        dump_add(ctx, names[i], strlen(names[i]));
        dump_add(ctx, "=", 1);
        if (v->type == STERNA_TEXT) {
            dump_add(ctx, "'", 1);
            dump_add(ctx, v->text, v->text_bytes);
        } else {
            if (v->type == STERNA_REAL)
                snprintf(number, sizeof number, "%.17g", v->r);
            else
                snprintf(number, sizeof number, "%lld", (long long)v->i);
            if (v->type == STERNA_NULL) snprintf(number, sizeof number, "-");
            dump_add(ctx, number, strlen(number));
        }
        dump_add(ctx, " ", 1);
    }
    dump_add(ctx, "\n", 1);
    return 0;
}

static int dump_class(void *ctx, int64_t label, const char *name, uint64_t n) {
    char text[128];
    int bytes = snprintf(text, sizeof text, "class %lld %s: %llu\n", (long long)label, name,
                         (unsigned long long)n);
    dump_add(ctx, text, (size_t)bytes);
    return 0;
}

static int dump_run(void *ctx, const struct sterna_run *run) {
    char text[1200];
    int bytes = snprintf(text, sizeof text, "run %llu of %lld: %llu from %s\n",
                         (unsigned long long)run->run, (long long)run->finished_s,
                         (unsigned long long)run->n_samples, run->source);
    dump_add(ctx, text, (size_t)bytes);
    return 0;
}

/* All that a catalogue says of samples, classes and runs; free() it. */
static char *dump(struct fixture *f, const char *columns, const char *where) {
    struct dump d = {0};
    sterna_store *store;
    const struct sterna_query_options o = {.struct_size = sizeof o,
                                           .where = where,
                                           .columns = columns ? &columns : NULL,
                                           .n_columns = columns ? 1 : 0};
    ok(f, open_store(f, &store, STERNA_OPEN_READ));
    dump_add(&d, "", 0);
    ok(f, sterna_query(store, &o, dump_row, &d, &f->err));
    if (!columns) {
        ok(f, sterna_store_classes(store, dump_class, &d, &f->err));
        ok(f, sterna_store_runs(store, dump_run, &d, &f->err));
    }
    sterna_store_close(&store);
    return d.text;
}

/* A cache that held nothing before says the same as the one that has followed every run. */
static void assert_same_elsewhere(struct fixture *f, const char *other) {
    char *here = dump(f, NULL, NULL);
    use_cache(f, other);
    char *there = dump(f, NULL, NULL);
    use_cache(f, "one");
    assert_string_equal(there, here);
    free(here);
    free(there);
}

static int entries(const struct fixture *f, const char *cache, const char *prefix) {
    char command[800];
    int n = 0;
    snprintf(command, sizeof command, "ls %s/*/ 2>/dev/null | grep -c '^%s'",
             tree_path(&f->home, cache), prefix);
    FILE *p = popen(command, "r");
    if (fscanf(p, "%d", &n) != 1) n = -1;
    pclose(p);
    return n;
}

/* ---- ingests ---- */

static void test_what_is_not_there(void **state) {
    struct fixture *f = *state;
    sterna_store *store;
    const struct sterna_store_options plain = {.struct_size = sizeof plain,
                                               .mode = STERNA_OPEN_CREATE};
    fails(f, STERNA_ENOTFOUND, "no data set birds in keyspace ks: to make it, ingest with --create",
          open_store(f, &store, STERNA_OPEN_READ));
    assert_null(store);
    fails(f, STERNA_ENOTFOUND, "no data set birds", open_store(f, &store, STERNA_OPEN_WRITE));
    fails(f, STERNA_ENOTFOUND, "no keyspace ks: give its replication",
          sterna_store_open(&store, f->url, &plain, &f->err));
}

static void test_an_ingest_is_the_same_everywhere(void **state) {
    struct fixture *f = *state;
    picture(f, "cat/1.png", 1);
    picture(f, "cat/2.png", 2);
    picture(f, "dog/3.png", 3);
    picture(f, "dog/\xff.png", 4);
    assert_int_equal(ingest(f, NULL, 0), 1);
    assert_int_equal(ingest(f, NULL, 0), 0); /* nothing new */
    assert_same_elsewhere(f, "two");
    picture(f, "ant/5.png", 5);
    assert_int_equal(ingest(f, NULL, 0), 2);
    assert_same_elsewhere(f, "two"); /* brings the second run to the first */
    assert_same_elsewhere(f, "three");
    char *rows = dump(f, "label", "class = 'ant'");
    assert_string_equal(rows, "label=2 \n");
    free(rows);
    assert_int_equal(entries(f, "one", "copy-"), 0);
}

static void test_changes_are_the_same_everywhere(void **state) {
    struct fixture *f = *state;
    picture(f, "cat/1.png", 1);
    picture(f, "dog/2.png", 2);
    tree_text(&f->home, "a.csv",
              "path,score,note,big\ncat/1.png,0.1,x,9223372036854775807\n"
              "dog/2.png,3,\"say \"\"hi\"\"\",-1\n");
    tree_text(&f->home, "b.csv", "path,score,extra\ncat/1.png,5,new\ndog/2.png,3,\n");
    assert_int_equal(ingest(f, tree_path(&f->home, "a.csv"), 0), 1);
    assert_same_elsewhere(f, "two");
    assert_int_equal(ingest(f, tree_path(&f->home, "b.csv"), 0), 2); /* columns alone */
    assert_same_elsewhere(f, "two");
    assert_same_elsewhere(f, "three");
    char *rows = dump(f, "extra", "score = 5 AND run = 1");
    assert_string_equal(rows, "extra='new \n");
    free(rows);
    picture(f, "cat/1.png", 100); /* other bytes */
    assert_int_equal(ingest(f, NULL, 1), 3);
    assert_same_elsewhere(f, "two");
    rows = dump(f, "path", "run = 3");
    assert_string_equal(rows, "path='cat/1.png \n");
    free(rows);
}

struct ingesting {
    struct fixture *f;
    const char *dir;
    char path[600];
    uint64_t run;
    struct sterna_error err;
    int rc;
};

static void *ingest_thread(void *arg) {
    struct ingesting *i = arg;
    sterna_store *store;
    struct sterna_ingest_options o;
    struct sterna_ingest_result result = {0};
    const struct sterna_store_options so = {
        .struct_size = sizeof so, .mode = STERNA_OPEN_CREATE, .replication = "1"};
    sterna_ingest_options_init(&o);
    o.prefix = i->dir;
    i->rc = sterna_store_open(&store, i->f->url, &so, &i->err);
    if (i->rc == STERNA_OK) i->rc = sterna_ingest_folder(store, i->path, &o, &result, &i->err);
    i->run = result.run;
    sterna_store_close(&store);
    return NULL;
}

#define AT_ONCE 4

static int count_class(void *ctx, int64_t label, const char *name, uint64_t n) {
    uint64_t *seen = ctx;
    (void)name;
    assert_in_range(label, 0, 63);
    assert_false(*seen >> label & 1);
    assert_true(n > 0);
    *seen |= UINT64_C(1) << label;
    return 0;
}

static void test_ingests_at_once_share_names(void **state) {
    struct fixture *f = *state;
    static const char *const dirs[AT_ONCE] = {"a", "b", "c", "d"};
    struct ingesting all[AT_ONCE];
    pthread_t threads[AT_ONCE];
    uint64_t labels = 0, runs = 0;
    for (unsigned i = 0; i < AT_ONCE; i++)
        for (unsigned k = 0; k < 6; k++) { /* four classes in common, one of its own */
            char path[64];
            snprintf(path, sizeof path, "%s/class%u/%u.png", dirs[i], k < 5 ? k : 10 + i, k);
            picture(f, path, 10 * i + k);
        }
    for (unsigned i = 0; i < AT_ONCE; i++) {
        all[i] = (struct ingesting){.f = f, .dir = dirs[i]};
        snprintf(all[i].path, sizeof all[i].path, "%s", tree_path(&f->images, dirs[i]));
        pthread_create(&threads[i], NULL, ingest_thread, &all[i]);
    }
    for (unsigned i = 0; i < AT_ONCE; i++) {
        pthread_join(threads[i], NULL);
        if (all[i].rc < 0) fail_msg("%s: %d: %s", dirs[i], all[i].rc, all[i].err.message);
        runs |= UINT64_C(1) << all[i].run;
    }
    assert_int_equal(runs, 0x1E); /* 1 to 4, each once */
    sterna_store *store;
    ok(f, open_store(f, &store, STERNA_OPEN_READ));
    ok(f, sterna_store_classes(store, count_class, &labels, &f->err));
    sterna_store_close(&store);
    assert_int_equal(labels, (1 << 9) - 1); /* nine classes, no label left out or given twice */
    assert_same_elsewhere(f, "two");
    char *rows = dump(f, "path",
                      "class <> 'class' || CASE WHEN path LIKE '%/5.png' THEN"
                      " 10 + unicode(path) - unicode('a') ELSE"
                      " substr(path, -5, 1) END");
    assert_string_equal(rows, "");
    free(rows);
}

/* In a program of its own: begins to ingest, and is gone without a farewell. */
static int be_killed(const char *url) {
    sterna_store *store;
    sterna_ingest *in;
    const struct sterna_store_options o = {.struct_size = sizeof o, .mode = STERNA_OPEN_WRITE};
    int rc = sterna_store_open(&store, url, &o, NULL);
    if (rc == STERNA_OK) rc = sterna_ingest_open(&in, store, "killed", 0, NULL);
    _exit(rc == STERNA_OK ? 0 : 1);
}

static void kill_one(struct fixture *f) {
    int status = -1;
    pid_t child = fork();
    if (child == 0) {
        execl("/proc/self/exe", "test", f->url, (char *)NULL);
        _exit(127);
    }
    waitpid(child, &status, 0);
    assert_int_equal(status, 0);
}

static void test_a_killed_ingest_leaves_nothing(void **state) {
    struct fixture *f = *state;
    picture(f, "cat/1.png", 1);
    assert_int_equal(ingest(f, NULL, 0), 1);
    kill_one(f);
    assert_int_equal(entries(f, "one", "copy-"), 1);
    assert_same_elsewhere(f, "two");
    picture(f, "cat/2.png", 2);
    assert_int_equal(ingest(f, NULL, 0), 2);
    assert_int_equal(entries(f, "one", "copy-"), 0);
    assert_same_elsewhere(f, "two");
}

/* Rows of a run that was not committed are nobody's; those of one that was must be there. */
static void test_runs_are_whole(void **state) {
    struct fixture *f = *state;
    sterna_store *store;
    picture(f, "cat/1.png", 1);
    picture(f, "cat/2.png", 2);
    assert_int_equal(ingest(f, NULL, 0), 1);
    cql(f, "INSERT INTO ks.birds_meta (run, part, id, added, path) VALUES"
           " (50554d6e-29bb-11e5-b345-feff819cdc9f, 0, 123e4567-e89b-12d3-a456-426655440000,"
           " true, 'of a killed ingest')");
    assert_same_elsewhere(f, "two");
    cql(f, "INSERT INTO ks.birds_run (k, number, run, parts, samples, source, finished, state)"
           " VALUES ('run', 2, 50554d6e-29bb-11e5-b345-feff819cdc9f, 2, 7, 'x', 5, 'committed')");
    fails(f, STERNA_EFORMAT, "run 2 has 1 of its 7 rows in table \"ks\".\"birds_meta\"",
          open_store(f, &store, STERNA_OPEN_READ));
    cql(f, "INSERT INTO ks.birds_run (k, number, run, parts, samples, source, finished, state)"
           " VALUES ('run', 2, 50554d6e-29bb-11e5-b345-feff819cdc9f, 1, 1, 'x', 5, 'committed')");
    char *rows = dump(f, "path", "run = 2");
    assert_string_equal(rows, "path='of a killed ingest \n");
    free(rows);
}

static void test_many_partitions(void **state) {
    struct fixture *f = *state;
    sterna_store *store;
    sterna_ingest *in;
    uint64_t run;
    const unsigned n = 2 * STN_RUN_PART_ROWS + 17;
    ok(f, open_store(f, &store, STERNA_OPEN_CREATE));
    ok(f, sterna_ingest_open(&in, store, "many", 0, &f->err));
    struct picture p = picture_png(2, 2, 1, 1);
    for (unsigned i = 0; i < n; i++) {
        char path[32];
        snprintf(path, sizeof path, "%07u.png", i);
        const struct sterna_blob blob = {
            .data = p.data, .bytes = p.bytes, .field = "image", .kind = STERNA_KIND_IMAGE};
        const struct sterna_sample sample = {.path = path, .blobs = &blob, .n_blobs = 1};
        ok(f, sterna_ingest_add(in, &sample, NULL, &f->err));
    }
    free(p.data);
    ok(f, sterna_ingest_commit(in, &run, &f->err));
    sterna_ingest_close(&in);
    sterna_store_close(&store);
    assert_same_elsewhere(f, "two");
    char *rows = dump(f, "path", "path = '0010016.png'");
    assert_string_equal(rows, "path='0010016.png \n");
    free(rows);
}

/* ---- the cache ---- */

static void damage(const struct fixture *f, const char *cache, const char *how) {
    char command[900];
    snprintf(command, sizeof command, "cd %s/*/ && %s", tree_path(&f->home, cache), how);
    assert_int_equal(system(command), 0);
}

static void test_a_bad_cache_is_made_anew(void **state) {
    struct fixture *f = *state;
    static const char *const how[] = {
        "truncate -s 5000 catalog.sqlite", ": > catalog.sqlite", "rm catalog.sqlite",
        "printf 'no SQLite file, but some text that is there' > catalog.sqlite"};
    picture(f, "cat/1.png", 1);
    assert_int_equal(ingest(f, NULL, 0), 1);
    picture(f, "cat/2.png", 2);
    assert_int_equal(ingest(f, NULL, 0), 2);
    char *want = dump(f, NULL, NULL);
    for (size_t i = 0; i < STN_COUNT(how); i++) {
        damage(f, "one", how[i]);
        char *is = dump(f, NULL, NULL);
        assert_string_equal(is, want);
        free(is);
    }
    free(want);
    /* Made anew in the cluster under the same id: its run 1 is another one. */
    cql(f, "DELETE FROM ks.birds_run WHERE k = 'run' AND number = 2");
    cql(f, "UPDATE ks.birds_run SET finished = 77 WHERE k = 'run' AND number = 1");
    assert_same_elsewhere(f, "two");
    char *rows = dump(f, "path", "true");
    assert_string_equal(rows, "path='cat/1.png \n");
    free(rows);
}

static void test_no_place_for_a_cache(void **state) {
    struct fixture *f = *state;
    sterna_store *store;
    picture(f, "cat/1.png", 1);
    assert_int_equal(ingest(f, NULL, 0), 1);
    tree_text(&f->home, "file", "");
    setenv("STERNA_CACHE", tree_path(&f->home, "file/below"), 1);
    fails(f, STERNA_EIO, "set STERNA_CACHE", open_store(f, &store, STERNA_OPEN_READ));
    unsetenv("STERNA_CACHE");
    setenv("XDG_CACHE_HOME", tree_path(&f->home, "xdg"), 1);
    ok(f, open_store(f, &store, STERNA_OPEN_READ));
    sterna_store_close(&store);
    assert_int_equal(access(tree_path(&f->home, "xdg/sterna"), F_OK), 0);
    unsetenv("XDG_CACHE_HOME");
}

/* ---- tables that do not fit ---- */

static void test_tables_that_do_not_fit(void **state) {
    struct fixture *f = *state;
    sterna_store *store;
    picture(f, "cat/1.png", 1);
    assert_int_equal(ingest(f, NULL, 0), 1);
    cql(f, "UPDATE ks.birds_info SET v = '2' WHERE k = 'format'");
    fails(f, STERNA_EFORMAT, "tables of format version 2, this program reads version 1",
          open_store(f, &store, STERNA_OPEN_READ));
    cql(f, "UPDATE ks.birds_info SET v = '1' WHERE k = 'format'");
    cql(f, "UPDATE ks.birds_info SET v ="
           " '{\"fields\":[\"image:image\",\"depth:npy\"],\"classes\":[],\"columns\":[]}'"
           " WHERE k = 'names'");
    fails(f, STERNA_EFORMAT, "is not as sterna makes it", open_store(f, &store, STERNA_OPEN_READ));
    cql(f, "DELETE FROM ks.birds_info WHERE k = 'names'");
    fails(f, STERNA_ENOTFOUND, "no data set birds", open_store(f, &store, STERNA_OPEN_READ));
}

static void test_another_data_set(void **state) {
    struct fixture *f = *state;
    sterna_store *store;
    const struct sterna_store_options o = {.struct_size = sizeof o,
                                           .mode = STERNA_OPEN_CREATE,
                                           .replication = "1",
                                           .dataset_id = (const uint8_t *)"0123456789abcdef"};
    struct sterna_store_info info;
    ok(f, sterna_store_open(&store, f->url, &o, &f->err));
    ok(f, sterna_store_info(store, &info, &f->err));
    assert_memory_equal(info.dataset_id, "0123456789abcdef", 16);
    sterna_store_close(&store);
    struct sterna_store_options other = o;
    other.dataset_id = (const uint8_t *)"0123456789abcdeg";
    fails(f, STERNA_EMISMATCH, "holds data set 30313233-3435-3637-3839-616263646566",
          sterna_store_open(&store, f->url, &other, &f->err));
}

/* ---- tables of other tools ---- */

static void make_lab(struct fixture *f, unsigned n) {
    char text[400];
    cql(f, "CREATE KEYSPACE lab WITH replication = {'class': 'SimpleStrategy',"
           " 'replication_factor': 1}");
    cql(f, "CREATE TABLE lab.data (patch_id uuid PRIMARY KEY, label int, data blob)");
    cql(f, "CREATE TABLE lab.metadata (patch_id uuid PRIMARY KEY, label int, patient text,"
           " score double, note blob, \"Class\" text)");
    for (unsigned i = 0; i < n; i++) {
        snprintf(text, sizeof text,
                 "INSERT INTO lab.data (patch_id, label, data) VALUES"
                 " (123e4567-e89b-12d3-a456-4266554%05u, %d, 0x00ff%04x)",
                 i, (int)(i % 7) - 1, i);
        cql(f, text);
        snprintf(text, sizeof text,
                 "INSERT INTO lab.metadata (patch_id, label, patient, score) VALUES"
                 " (123e4567-e89b-12d3-a456-4266554%05u, %d, 'p%u', %u.5)",
                 i, (int)(i % 7) - 1, i % 3, i);
        cql(f, text);
    }
}

static void use_mapping(struct fixture *f, const char *options) {
    snprintf(f->url, sizeof f->url, "cassandra://%s/lab/any?%s", f->server.address, options);
}

static void test_tables_of_another_tool(void **state) {
    struct fixture *f = *state;
    struct sterna_store_info info;
    struct sterna_field field;
    sterna_store *store;
    sterna_ingest *in;
    const unsigned n = 300;
    make_lab(f, n);
    use_mapping(f, "table=data&id=patch_id&image=data&label=label");
    ok(f, open_store(f, &store, STERNA_OPEN_READ));
    ok(f, sterna_store_field(store, 0, &field));
    assert_string_equal(field.name, "image");
    ok(f, sterna_store_info(store, &info, &f->err));
    assert_int_equal(info.n_samples, n);
    assert_int_equal(info.last_run, 1);
    assert_int_equal(info.read_only, 1);
    sterna_selection *all = NULL;
    ok(f, sterna_select(&all, store, NULL, &f->err));
    for (unsigned i = 0; i < n; i++)
        assert_int_equal(sterna_selection_lengths(all, 0)[i], STERNA_LENGTH_UNKNOWN);
    sterna_selection_close(&all);
    sterna_store_close(&store);
    char *rows = dump(f, "label", "id = '123e4567-e89b-12d3-a456-426655400013'");
    assert_string_equal(rows, "label=5 \n");
    free(rows);
    /* Listed once: a later one is for a new store handle to ask for. */
    cql(f, "DELETE FROM lab.data WHERE patch_id = 123e4567-e89b-12d3-a456-426655400013");
    rows = dump(f, "label", "id = '123e4567-e89b-12d3-a456-426655400013'");
    assert_string_equal(rows, "label=5 \n");
    free(rows);
    use_mapping(f, "table=data&id=patch_id&image=data&label=label&refresh=1");
    rows = dump(f, "run", "id = '123e4567-e89b-12d3-a456-426655400014'");
    assert_string_equal(rows, "run=2 \n");
    free(rows);
    rows = dump(f, "label", "id = '123e4567-e89b-12d3-a456-426655400013'");
    assert_string_equal(rows, "");
    free(rows);
    ok(f, open_store(f, &store, STERNA_OPEN_WRITE));
    fails(f, STERNA_EREADONLY, "read only", sterna_ingest_open(&in, store, "x", 0, &f->err));
    sterna_store_close(&store);
}

static void test_metadata_of_another_tool(void **state) {
    struct fixture *f = *state;
    make_lab(f, 100);
    use_mapping(f, "table=lab.data&id=patch_id&image=data&label=label&meta=lab.metadata");
    char *rows = dump(f, NULL, "patient = 'p2' AND score < 6");
    assert_non_null(strstr(rows, "label=1 "));
    assert_non_null(strstr(rows, "patient='p2 "));
    assert_non_null(strstr(rows, "score=2.5 "));
    assert_non_null(strstr(rows, "score=5.5 "));
    assert_null(strstr(rows, "note"));
    free(rows);
    use_mapping(f, "table=data&id=patch_id&image=data&label=data");
    sterna_store *store;
    ok(f, open_store(f, &store, STERNA_OPEN_READ)); /* a blob as label is a mask */
    struct sterna_field field;
    ok(f, sterna_store_field(store, 1, &field));
    assert_string_equal(field.name, "mask");
    sterna_store_close(&store);
}

static void test_mappings_that_make_no_sense(void **state) {
    struct fixture *f = *state;
    sterna_store *store;
    make_lab(f, 0);
    static const struct {
        const char *options, *says;
        int code;
    } rows[] = {
        {"table=data&id=patch_id&image=label", "image=label: this column", STERNA_EINVAL},
        {"table=data&id=label&image=data", "label", STERNA_EINVAL},
        {"table=data&id=patch_id&image=none", "none", STERNA_EINVAL},
        {"table=nothing&id=patch_id&image=data", "nothing", STERNA_ENOTFOUND},
        {"table=data&id=patch_id&image=data&image_crc=data", "image_crc=data", STERNA_EINVAL},
        {"table=data&id=patch_id&image=data&label=patch_id", "label=patch_id", STERNA_EINVAL},
    };
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        use_mapping(f, rows[i].options);
        fails(f, rows[i].code, rows[i].says, open_store(f, &store, STERNA_OPEN_READ));
    }
}

int main(int argc, char **argv) {
    if (argc > 1) return be_killed(argv[1]);
    if (!getenv("CQLMEM")) {
        puts("skipped: CQLMEM names no server");
        return 77;
    }
#define test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        test(test_what_is_not_there),
        test(test_an_ingest_is_the_same_everywhere),
        test(test_changes_are_the_same_everywhere),
        test(test_ingests_at_once_share_names),
        test(test_a_killed_ingest_leaves_nothing),
        test(test_runs_are_whole),
        test(test_many_partitions),
        test(test_a_bad_cache_is_made_anew),
        test(test_no_place_for_a_cache),
        test(test_tables_that_do_not_fit),
        test(test_another_data_set),
        test(test_tables_of_another_tool),
        test(test_metadata_of_another_tool),
        test(test_mappings_that_make_no_sense),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
