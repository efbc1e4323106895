/* A reader: takes the path of an image, opens it with the files of its fields, reads, sums and
 * checks them, and makes the row. Knows nothing of stores. */
#ifndef STN_READER_H
#define STN_READER_H

#include "ingest/jobs.h"

struct stn_read_setup { /* the same for all readers; nothing of it changes while they run */
    struct stn_jobs *jobs;
    struct stn_buffers *buffers;
    int root_fd;
    const uint8_t *dataset_id;
    const struct stn_layout *layout;
    const int64_t *labels;              /* of layout->classes */
    const struct stn_pattern *patterns; /* pattern i's field is fields[i] */
    const uint32_t *fields;
    size_t n_patterns;
    struct stn_metadata *metadata;       /* NULL: none */
    long label_at, class_at, split_at;   /* its columns of that name, or -1 */
    struct stn_walk_inode metadata_file; /* the CSV itself is no sample */
    uint64_t max_bytes;
};

/* Cells that a job's row needs at most. */
size_t stn_read_cells(const struct stn_metadata *metadata);

/* Reads jobs until there are no more; a failure stops them all. */
void stn_read_all(const struct stn_read_setup *setup);

#endif
