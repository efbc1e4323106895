#include "support/check.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "cassandra/cassandra.h"
#include "support/temporary.h"

static void parse(struct stn_location *l, const char *url) {
    struct sterna_error err = {0};
    if (stn_location_parse(l, url, &err) != STERNA_OK) fail_msg("%s: %s", url, err.message);
}

/* ---- what is taken ---- */

static void test_location_hosts_and_names(void **state) {
    static const struct {
        const char *url, *shown, *user, *hosts[3];
        unsigned ports[3];
        size_t n;
    } rows[] = {
        {"cassandra://h/lab/photos", "cassandra://h/lab/photos", NULL, {"h"}, {9042}, 1},
        {"cassandra://h:9142/lab/photos", "cassandra://h:9142/lab/photos", NULL, {"h"}, {9142}, 1},
        {"cassandra://a.example.org,10.0.0.2:1,[::1]:65535/k/d",
         "cassandra://a.example.org,10.0.0.2:1,[::1]:65535/k/d",
         NULL,
         {"a.example.org", "10.0.0.2", "::1"},
         {9042, 1, 65535},
         3},
        {"cassandra://bob@[2001:db8::1]/k/d",
         "cassandra://bob@[2001:db8::1]/k/d",
         "bob",
         {"2001:db8::1"},
         {9042},
         1},
        {"cassandra://[fe80::1%25eth0]/k/d",
         "cassandra://[fe80::1%25eth0]/k/d",
         NULL,
         {"fe80::1%eth0"},
         {9042},
         1},
        {"cassandra://bob%40lab%3Ax@h:9042/%6bs/d%61ta?",
         "cassandra://bob%40lab%3Ax@h/ks/data",
         "bob@lab:x",
         {"h"},
         {9042},
         1},
        {"cassandra://J%C3%B6@h/Lab_2/_9x",
         "cassandra://J%C3%B6@h/Lab_2/_9x",
         "J\xC3\xB6",
         {"h"},
         {9042},
         1},
    };
    (void)state;
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        struct stn_location l;
        parse(&l, rows[i].url);
        if (strcmp(l.shown, rows[i].shown) != 0) fail_msg("%s: %s", rows[i].url, l.shown);
        if (!rows[i].user != !l.user || (l.user && strcmp(l.user, rows[i].user) != 0))
            fail_msg("%s: user %s", rows[i].url, l.user ? l.user : "(none)");
        assert_int_equal(l.n_hosts, rows[i].n);
        for (size_t k = 0; k < l.n_hosts; k++)
            if (strcmp(l.hosts[k].name, rows[i].hosts[k]) != 0 ||
                l.hosts[k].port != rows[i].ports[k])
                fail_msg("%s: %s port %u", rows[i].url, l.hosts[k].name, l.hosts[k].port);
        stn_location_fini(&l);
        stn_location_fini(&l);
    }
}

static void test_location_names(void **state) {
    struct stn_location l;
    (void)state;
    parse(&l, "cassandra://h/a234567890123456789012345678901234567890abcdefgh/"
              "b23456789012345678901234567890123456789012");
    assert_int_equal(strlen(l.keyspace), 48);
    assert_int_equal(strlen(l.dataset), 42);
    assert_string_equal(l.dataset, "b23456789012345678901234567890123456789012");
    stn_location_fini(&l);
}

static void test_location_defaults(void **state) {
    struct stn_location l;
    (void)state;
    parse(&l, "cassandra://h/k/d");
    assert_null(l.user);
    assert_null(l.dc);
    assert_null(l.ca);
    assert_null(l.password_file);
    assert_null(l.map.table);
    assert_int_equal(l.tls, 0);
    assert_int_equal(l.read_consistency, STN_CQL_LOCAL_ONE);
    assert_int_equal(l.write_consistency, STN_CQL_LOCAL_QUORUM);
    assert_int_equal(l.connections, 0);
    assert_int_equal(l.outage_timeout_ms, 0);
    assert_int_equal(l.n_translations, 0);
    stn_location_fini(&l);
}

static void test_location_options(void **state) {
    struct stn_location l;
    (void)state;
    parse(&l,
          "cassandra://u@h/k/d?dc=north%26south&tls=verify&ca=/etc/a%20b.pem&cert=c.pem&key=k.pem"
          "&consistency=local_quorum&connections=12&password_file=/run/secret/p+w@x:y&"
          "&outage_timeout=30&translate=10.0.0.1:9042>127.0.0.1:19042,[fd00::2]%3E[::1]:3&");
    assert_string_equal(l.dc, "north&south");
    assert_string_equal(l.ca, "/etc/a b.pem");
    assert_string_equal(l.cert, "c.pem");
    assert_string_equal(l.key, "k.pem");
    assert_string_equal(l.password_file, "/run/secret/p+w@x:y");
    assert_int_equal(l.tls, 1);
    assert_int_equal(l.connections, 12);
    assert_int_equal(l.outage_timeout_ms, 30000);
    assert_int_equal(l.n_translations, 2);
    char text[STN_ADDRESS_TEXT_BYTES];
    assert_string_equal(stn_address_text(&l.translations[0].from, text), "10.0.0.1:9042");
    assert_string_equal(stn_address_text(&l.translations[0].to, text), "127.0.0.1:19042");
    assert_string_equal(stn_address_text(&l.translations[1].from, text), "[fd00::2]:9042");
    assert_string_equal(stn_address_text(&l.translations[1].to, text), "[::1]:3");
    stn_location_fini(&l);

    parse(&l, "cassandra://h/lab/any?table=lab.data&id=patch_id&image=data&image_crc=c1&mask=m"
              "&mask_crc=c2&label=label&meta=lab.metadata");
    assert_string_equal(l.map.table, "lab.data");
    assert_string_equal(l.map.id, "patch_id");
    assert_string_equal(l.map.image, "data");
    assert_string_equal(l.map.image_crc, "c1");
    assert_string_equal(l.map.mask, "m");
    assert_string_equal(l.map.mask_crc, "c2");
    assert_string_equal(l.map.label, "label");
    assert_string_equal(l.map.meta, "lab.metadata");
    stn_location_fini(&l);

    parse(&l, "cassandra://h/k/d?outage_timeout=0"); /* not the same as nothing said */
    assert_int_equal(l.outage_timeout_ms, 1);
    stn_location_fini(&l);
}

static void test_location_tls_and_consistency(void **state) {
    static const struct {
        const char *options;
        int tls, read, write;
    } rows[] = {
        {"tls=off", -1, STN_CQL_LOCAL_ONE, STN_CQL_LOCAL_QUORUM},
        {"tls=verify", 1, STN_CQL_LOCAL_ONE, STN_CQL_LOCAL_QUORUM},
        {"ca=x", 1, STN_CQL_LOCAL_ONE, STN_CQL_LOCAL_QUORUM},
        {"cert=x&key=y", 1, STN_CQL_LOCAL_ONE, STN_CQL_LOCAL_QUORUM},
        {"consistency=ONE", 0, STN_CQL_ONE, STN_CQL_LOCAL_QUORUM},
        {"consistency=LOCAL_QUORUM", 0, STN_CQL_LOCAL_QUORUM, STN_CQL_LOCAL_QUORUM},
        {"consistency=Quorum", 0, STN_CQL_QUORUM, STN_CQL_QUORUM},
        {"consistency=EACH_QUORUM", 0, STN_CQL_LOCAL_QUORUM, STN_CQL_EACH_QUORUM},
        {"consistency=ALL", 0, STN_CQL_ALL, STN_CQL_ALL},
    };
    (void)state;
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        char url[128];
        struct stn_location l;
        snprintf(url, sizeof url, "cassandra://h/k/d?%s", rows[i].options);
        parse(&l, url);
        if (l.tls != rows[i].tls || l.read_consistency != rows[i].read ||
            l.write_consistency != rows[i].write)
            fail_msg("%s: tls %d, read %d, write %d", url, l.tls, l.read_consistency,
                     l.write_consistency);
        stn_location_fini(&l);
    }
}

/* ---- what is refused ---- */

static void test_location_refuses(void **state) {
    static const struct {
        const char *url, *say; /* a part of the message */
    } rows[] = {
        {"", "begins with cassandra://"},
        {"http://h/k/d", "begins with cassandra://"},
        {"cassandra://", "/KEYSPACE/DATASET"},
        {"cassandra://h", "/KEYSPACE/DATASET"},
        {"cassandra://h/", "/KEYSPACE/DATASET"},
        {"cassandra://h/k", "/KEYSPACE/DATASET"},
        {"cassandra://h/k?dc=/d", "/KEYSPACE/DATASET"},
        {"cassandra://h/k/", "data set ''"},
        {"cassandra://h//d", "keyspace ''"},
        {"cassandra://h/k/d/e", "data set 'd/e'"},
        {"cassandra://h/k/d/", "data set 'd/'"},
        {"cassandra://h/k-1/d", "keyspace 'k-1'"},
        {"cassandra://h/k/d%20e", "data set 'd e'"},
        {"cassandra://h/k/d%00", "control character 0x00"},
        {"cassandra://h/k/d%0a", "control character 0x0a"},
        {"cassandra://h/k/d%ff", "no UTF-8"},
        {"cassandra://h/k/d%4", "hexadecimal"},
        {"cassandra://h/k/d%", "hexadecimal"},
        {"cassandra://h/k/d%g0", "hexadecimal"},
        {"cassandra://h/a234567890123456789012345678901234567890abcdefghi/d", "has 49 characters"},
        {"cassandra://h/k/b234567890123456789012345678901234567890123", "it can have 42"},
        {"cassandra:///k/d", "a host is missing"},
        {"cassandra://h,/k/d", "a host is missing"},
        {"cassandra://,h/k/d", "a host is missing"},
        {"cassandra://:9042/k/d", "a host is missing"},
        {"cassandra://a b/k/d", "'a b' is no name of a host"},
        {"cassandra://h:/k/d", "port of host 'h'"},
        {"cassandra://h:0/k/d", "port of host 'h'"},
        {"cassandra://h:65536/k/d", "port of host 'h'"},
        {"cassandra://h:99999999999999999999/k/d", "port of host 'h'"},
        {"cassandra://h:+1/k/d", "port of host 'h'"},
        {"cassandra://::1/k/d", "written in [ ]"},
        {"cassandra://2001:db8::1/k/d", "written in [ ]"},
        {"cassandra://[::1/k/d", "[address]"},
        {"cassandra://[::1]9042/k/d", "[address]"},
        {"cassandra://[::g]/k/d", "[address]"},
        {"cassandra://[10.0.0.1]/k/d", "[address]"},
        {"cassandra://@h/k/d", "no user's name"},
        {"cassandra://h/k/d?dc", "dc= of a store's URL is empty"},
        {"cassandra://h/k/d?dc=", "dc= of a store's URL is empty"},
        {"cassandra://h/k/d?dc=a&dc=b", "dc stands twice"},
        {"cassandra://h/k/d?consitency=ONE", "no option 'consitency'; did you mean consistency"},
        {"cassandra://h/k/d?conn=3", "did you mean connections"},
        {"cassandra://h/k/d?image-crc=3", "did you mean image_crc"},
        {"cassandra://h/k/d?zzz=3", "no option 'zzz'"},
        {"cassandra://h/k/d?DC=a", "did you mean dc"},
        {"cassandra://h/k/d?tls=on", "tls=on"},
        {"cassandra://h/k/d?tls=off&ca=x", "tls=off and ca= contradict"},
        {"cassandra://h/k/d?cert=x&key=y&tls=off", "tls=off and cert= contradict"},
        {"cassandra://h/k/d?cert=x", "key= is missing"},
        {"cassandra://h/k/d?key=x&ca=y", "cert= is missing"},
        {"cassandra://h/k/d?consistency=SERIAL", "consistency=SERIAL"},
        {"cassandra://h/k/d?connections=0", "connections=0"},
        {"cassandra://h/k/d?connections=1025", "1 to 1024"},
        {"cassandra://h/k/d?connections=many", "connections=many"},
        {"cassandra://h/k/d?outage_timeout=-1", "outage_timeout=-1"},
        {"cassandra://h/k/d?outage_timeout=8m", "outage_timeout=8m"},
        {"cassandra://h/k/d?password_file=x", "needs a user"},
        {"cassandra://h/k/d?translate=10.0.0.1", "FROM>TO"},
        {"cassandra://h/k/d?translate=10.0.0.1>host", "'host' is no address"},
        {"cassandra://h/k/d?translate=::1>10.0.0.1", "is no address"},
        {"cassandra://h/k/d?translate=10.0.0.1:0>10.0.0.1", "is no address"},
        {"cassandra://h/k/d?translate=a>b>c", "is no address"},
        {"cassandra://h/k/d?image=data", "image= of a store's URL needs table="},
        {"cassandra://h/k/d?table=t&image=data", "table= of a store's URL needs id="},
        {"cassandra://h/k/d?table=t&id=i", "needs image="},
        {"cassandra://h/k/d?table=t&id=i&mask=m&image_crc=c", "image_crc= of a store's URL needs"},
        {"cassandra://h/k/d?table=a.b.c&id=i&image=d", "table=a.b.c"},
        {"cassandra://h/k/d?table=.b&id=i&image=d", "table=.b"},
        {"cassandra://h/k/d?table=a.&id=i&image=d", "table=a."},
        {"cassandra://h/k/d?table=t;drop&id=i&image=d", "table=t;drop"},
        {"cassandra://h/k/d?table=t&id=a\"b&image=d", "id=a\"b"},
    };
    (void)state;
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        struct stn_location l;
        struct sterna_error err = {0};
        int rc = stn_location_parse(&l, rows[i].url, &err);
        if (rc != STERNA_EINVAL || err.code != rc || !strstr(err.message, rows[i].say))
            fail_msg("%s: %d '%s'", rows[i].url, rc, err.message);
        assert_null(l.hosts);
        stn_location_fini(&l);
    }
}

/* Whatever is in it, and wherever it makes the URL fall apart. */
static void test_location_never_shows_a_password(void **state) {
    static const char *const urls[] = {
        "cassandra://bob:S3kr1t@h/k/d",
        "cassandra://bob:S3kr1t@h:9042,g/k/d?dc=a",
        "cassandra://:S3kr1t@h/k/d",
        "cassandra://bob:@S3kr1t@h/k/d",
        "cassandra://bob:a/S3kr1t@h/k/d",
        "cassandra://bob/S3kr1t@h/k/d",
        "cassandra://bob:S3kr1t/b@h/k/d",
        "cassandra://bob:a?S3kr1t@h/k/d",
        "cassandra://bob:S3kr1t?b@h/k/d",
        "cassandra://bob:S3kr1t/b?c@h/k/d",
        "cassandra://bob:1/S3kr1t/b?c@h/k/d",
        "cassandra://bob:1/S3kr1t-/b?c@h/k/d",
        "cassandra://bob:1/b/c?S3kr1t@h/k/d",
        "cassandra://bob:1/b/c?tls=S3kr1t@h/k/d",
        "cassandra://bob:S3kr1t,b/c/d?e@h/k/d",
        "cassandra://bob:[S3kr1t?e@h/k/d",
        "cassandra://bob:1,[S3kr1t/k/d?e@h/k/d",
        "cassandra://bob:%S3kr1t@h/k/d",
        "cassandra://bob@h/k/d?password=S3kr1t",
        "cassandra://bob@h/k/d?pasword=S3kr1t",
        "cassandra://bob@h/k/d?passwd=S3kr1t",
        "cassandra://bob@h:S3kr1t/k/d",
        "cassandra://bob:S3kr1t",
        "cassandra://bob:S3kr1t/k/d",
    };
    (void)state;
    for (size_t i = 0; i < STN_COUNT(urls); i++) {
        struct stn_location l;
        struct sterna_error err = {0};
        int rc = stn_location_parse(&l, urls[i], &err);
        if (rc != STERNA_EINVAL || strstr(err.message, "S3kr1t"))
            fail_msg("%s: %d '%s'", urls[i], rc, err.message);
    }
}

/* ---- passwords ---- */

static struct stn_location with_file; /* of the tests below */

static void write_file(const char *path, const char *text, size_t bytes) {
    int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, bytes), (ssize_t)bytes);
    close(fd);
}

static int ask(void *ctx, const char *user, const char *host, char *buf, size_t cap,
               struct sterna_error *err) {
    (void)err;
    snprintf(buf, cap, "%s/%s/%s", user, host, (const char *)ctx);
    return STERNA_OK;
}

static void test_secret_order(void **state) {
    char *dir = test_dir_make(), url[4096], buf[64], asked[] = "asked";
    struct sterna_error err = {0};
    struct stn_location l;
    (void)state;
    char *path = stn_path_join(dir, "pw");
    snprintf(url, sizeof url, "cassandra://bob@h/k/d?password_file=%s", path);
    parse(&with_file, url);
    parse(&l, "cassandra://bob@h,g/k/d");
    struct stn_secret file = {&with_file, ask, asked}, secret = {&l, ask, asked};

    write_file(path, "first\nsecond\n", 13);
    setenv("STERNA_PASSWORD", "of the environment", 1);
    assert_ok(stn_secret_password(&file, buf, sizeof buf, &err));
    assert_string_equal(buf, "first");
    write_file(path, " changed \r\n", 11); /* read anew; only the end of the line goes */
    assert_ok(stn_secret_password(&file, buf, sizeof buf, &err));
    assert_string_equal(buf, " changed ");
    assert_ok(stn_secret_password(&secret, buf, sizeof buf, &err));
    assert_string_equal(buf, "of the environment");
    unsetenv("STERNA_PASSWORD");
    assert_ok(stn_secret_password(&secret, buf, sizeof buf, &err));
    assert_string_equal(buf, "bob/h/asked");

    free(path);
    stn_location_fini(&with_file);
    stn_location_fini(&l);
    test_dir_remove(&dir);
}

static void refused(struct stn_secret *s, size_t cap, const char *say, const char *never) {
    char buf[64];
    struct sterna_error err = {0};
    int rc = stn_secret_password(s, buf, cap, &err);
    if (rc != STERNA_EREFUSED || !strstr(err.message, say) || strstr(err.message, never))
        fail_msg("%d '%s'", rc, err.message);
    assert_string_equal(buf, "");
}

static void test_secret_refuses(void **state) {
    char *dir = test_dir_make(), url[4096];
    (void)state;
    char *path = stn_path_join(dir, "pw");
    snprintf(url, sizeof url, "cassandra://bob@h/k/d?password_file=%s", path);
    parse(&with_file, url);
    struct stn_secret s = {&with_file, NULL, NULL};
    unsetenv("STERNA_PASSWORD");
    refused(&s, 64, "No such file", "S3kr1t");
    write_file(path, "\nS3kr1t\n", 8);
    refused(&s, 64, "is empty", "S3kr1t");
    write_file(path, "", 0);
    refused(&s, 64, "is empty", "S3kr1t");
    write_file(path, "S3kr1t", 6);
    refused(&s, 6, "has 6 bytes; it can have 5", "S3kr1t");
    write_file(path, "S3\0kr1t\n", 8);
    refused(&s, 64, "zero byte", "S3");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    refused(&s, 64, "not a file", "S3kr1t");
    assert_int_equal(rmdir(path), 0);
    free(with_file.password_file);
    with_file.password_file = NULL;
    refused(&s, 64, "password_file=FILE", "S3kr1t"); /* all three ways are named */
    refused(&s, 64, "STERNA_PASSWORD", "S3kr1t");
    refused(&s, 64, "terminal", "S3kr1t");
    setenv("STERNA_PASSWORD", "", 1);
    refused(&s, 64, "STERNA_PASSWORD is empty", "S3kr1t");
    setenv("STERNA_PASSWORD", "S3kr1t", 1);
    refused(&s, 3, "STERNA_PASSWORD has 6 bytes", "S3kr1t");
    unsetenv("STERNA_PASSWORD");
    free(path);
    stn_location_fini(&with_file);
    test_dir_remove(&dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_location_hosts_and_names),
        cmocka_unit_test(test_location_names),
        cmocka_unit_test(test_location_defaults),
        cmocka_unit_test(test_location_options),
        cmocka_unit_test(test_location_tls_and_consistency),
        cmocka_unit_test(test_location_refuses),
        cmocka_unit_test(test_location_never_shows_a_password),
        cmocka_unit_test(test_secret_order),
        cmocka_unit_test(test_secret_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
