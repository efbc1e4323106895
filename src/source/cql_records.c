/* Owns the records of requests under way: they come in slabs, serve again and again, and are freed
 * together, so that reading a sample allocates nothing once warm. */
#include <string.h>

#include "source/cql_source.h"

#define SLAB_READS 256
#define SLAB_CHUNKS 64

struct stn_cql_slab {
    struct stn_cql_slab *next;
    struct stn_cql_read *reads; /* SLAB_READS; or NULL, and: */
    struct stn_cql_chunk *chunks;
    struct stn_cql_landing *landings;
};

static void free_slab(struct stn_cql_slab *slab) {
    free(slab->reads);
    free(slab->chunks);
    free(slab->landings);
    free(slab);
}

static int add_reads(struct stn_cql_source *s) {
    struct stn_cql_slab *slab = stn_array(1, sizeof *slab);
    if (!slab) return STERNA_ENOMEM;
    slab->reads = stn_array(SLAB_READS, sizeof *slab->reads);
    slab->landings = stn_array(SLAB_READS * (size_t)s->n_fields, sizeof *slab->landings);
    if (!slab->reads || !slab->landings) {
        free_slab(slab);
        return STERNA_ENOMEM;
    }
    for (size_t i = SLAB_READS; i-- > 0;) {
        struct stn_cql_read *read = &slab->reads[i];
        read->source = s;
        read->fields = slab->landings + i * s->n_fields;
        read->next = s->free_reads;
        s->free_reads = read;
    }
    s->n_free_reads += SLAB_READS;
    s->n_reads += SLAB_READS;
    slab->next = s->slabs;
    s->slabs = slab;
    return STERNA_OK;
}

struct stn_cql_read *stn_cql_reads_take(struct stn_cql_source *s, size_t n) {
    struct stn_cql_read *first = NULL;
    int rc = STERNA_OK;
    pthread_mutex_lock(&s->lock);
    while (rc == STERNA_OK && s->n_free_reads < n) rc = add_reads(s);
    for (size_t i = 0; rc == STERNA_OK && i < n; i++) {
        struct stn_cql_read *read = s->free_reads;
        s->free_reads = read->next;
        s->n_free_reads--;
        read->next = first;
        first = read;
    }
    pthread_mutex_unlock(&s->lock);
    return first;
}

size_t stn_cql_read_give(struct stn_cql_read *read) {
    struct stn_cql_source *s = read->source;
    pthread_mutex_lock(&s->lock);
    read->ticket = 0;
    read->next = s->free_reads;
    s->free_reads = read;
    s->n_free_reads++;
    size_t n_used = s->n_reads - s->n_free_reads;
    pthread_mutex_unlock(&s->lock);
    return n_used;
}

void stn_cql_reads_visit(struct stn_cql_source *s,
                         void (*each)(struct stn_cql_read *read, void *ctx), void *ctx) {
    pthread_mutex_lock(&s->lock);
    for (struct stn_cql_slab *slab = s->slabs; slab; slab = slab->next)
        for (size_t i = 0; i < SLAB_READS; i++)
            if (slab->reads[i].ticket) each(&slab->reads[i], ctx);
    pthread_mutex_unlock(&s->lock);
}

static int add_chunks(struct stn_cql_source *s) {
    struct stn_cql_slab *slab = stn_array(1, sizeof *slab);
    if (!slab) return STERNA_ENOMEM;
    slab->chunks = stn_array(SLAB_CHUNKS, sizeof *slab->chunks);
    if (!slab->chunks) {
        free_slab(slab);
        return STERNA_ENOMEM;
    }
    for (size_t i = SLAB_CHUNKS; i-- > 0;) {
        slab->chunks[i].next = s->free_chunks;
        s->free_chunks = &slab->chunks[i];
    }
    slab->next = s->chunk_slabs;
    s->chunk_slabs = slab;
    return STERNA_OK;
}

struct stn_cql_chunk *stn_cql_chunks_take(struct stn_cql_source *s, size_t n) {
    struct stn_cql_chunk *first = NULL;
    for (size_t i = 0; i < n; i++) {
        if (!s->free_chunks && add_chunks(s) < 0) break;
        struct stn_cql_chunk *chunk = s->free_chunks;
        s->free_chunks = chunk->next;
        chunk->next = first;
        first = chunk;
        if (i + 1 == n) return first;
    }
    while (first) { /* not all of them: none */
        struct stn_cql_chunk *chunk = first;
        first = chunk->next;
        chunk->next = s->free_chunks;
        s->free_chunks = chunk;
    }
    return NULL;
}

void stn_cql_chunk_give(struct stn_cql_chunk *chunk) {
    struct stn_cql_source *s = chunk->read->source;
    chunk->next = s->free_chunks;
    s->free_chunks = chunk;
}

const struct stn_cql_slab *stn_cql_slab_next(const struct stn_cql_slab *slab) { return slab->next; }

void stn_cql_records_free(struct stn_cql_source *s) {
    struct stn_cql_slab *lists[] = {s->slabs, s->chunk_slabs};
    for (size_t i = 0; i < STN_COUNT(lists); i++)
        for (struct stn_cql_slab *slab = lists[i], *next; slab; slab = next) {
            next = slab->next;
            free_slab(slab);
        }
    s->slabs = s->chunk_slabs = NULL;
    s->free_reads = NULL;
    s->free_chunks = NULL;
    s->n_reads = s->n_free_reads = 0;
}
