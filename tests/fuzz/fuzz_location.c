/* URLs of clusters. What is taken is within bounds and is taken again as it is shown; a password
 * put before the first @ is in no message, whatever it does to the rest. */
#include <stdlib.h>
#include <string.h>

#include "cassandra/cassandra.h"
#include "fuzz/fuzz.h"

static void use(const struct stn_location *l) {
    claim(l->n_hosts > 0 && l->hosts);
    for (size_t i = 0; i < l->n_hosts; i++) claim(l->hosts[i].name[0] && l->hosts[i].port);
    claim(strlen(l->keyspace) <= STN_CQL_NAME_MAX && strlen(l->dataset) + 6 <= STN_CQL_NAME_MAX);
    claim(!l->cert == !l->key && (l->tls > 0 || !l->ca));
    claim(!l->map.image_crc || l->map.image);
    for (const char *s = l->shown; *s; s++) claim(*s > 0x20 && *s < 0x7F);

    struct stn_location again;
    claim(stn_location_parse(&again, l->shown, NULL) == STERNA_OK);
    claim(strcmp(again.shown, l->shown) == 0 && again.n_hosts == l->n_hosts);
    claim(!again.user == !l->user && (!l->user || strcmp(again.user, l->user) == 0));
    for (size_t i = 0; i < l->n_hosts; i++)
        claim(strcmp(again.hosts[i].name, l->hosts[i].name) == 0);
    stn_location_fini(&again);
}

static void parse(const char *url, const char *never) {
    struct stn_location l;
    struct sterna_error err = {0};
    int rc = stn_location_parse(&l, url, &err);
    claim(rc == STERNA_OK || (err.code == rc && err.message[0]));
    if (never) claim(rc == STERNA_OK || !strstr(err.message, never));
    if (rc == STERNA_OK) use(&l);
    stn_location_fini(&l);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *url = malloc(size + 64);
    if (!url) abort();
    memcpy(url, data, size);
    url[size] = 0;
    parse(url, NULL);

    size_t half = strlen(url) / 2;
    char *tail = strdup(url + half);
    char *head = strndup(url, half);
    if (!tail || !head) abort();
    strcpy(url, "cassandra://u:");
    strcat(url, head);
    strcat(url, "S3kr1tWord");
    strcat(url, tail);
    strcat(url, "@h/k/d");
    if (!strstr(head, "S3kr") && !strstr(tail, "Word")) parse(url, "S3kr1tWord");
    free(head);
    free(tail);
    free(url);
    return 0;
}
