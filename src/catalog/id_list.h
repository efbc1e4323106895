/* A list of ids that a user gives: in memory, or in a text file, one UUID a line. */
#ifndef STN_ID_LIST_H
#define STN_ID_LIST_H

#include <stdio.h>

#include "base/base.h"

struct stn_id_list {
    const uint8_t (*ids)[16];
    size_t n;
    const char *path; /* of the file, or NULL */
    FILE *file;
    uint64_t at; /* line of the file, or index, of the present id; for messages */
    uint8_t id[16];
};

int stn_id_list_open(struct stn_id_list *list, const uint8_t (*ids)[16], size_t n, const char *path,
                     struct sterna_error *err);
void stn_id_list_close(struct stn_id_list *list); /* safe twice */

/* 1: list->id is the next one; 0: no more; EINVAL: a line is no UUID; EIO. */
int stn_id_list_next(struct stn_id_list *list, struct sterna_error *err);

/* `code`, with where the present id stands, itself, and what is wrong with it. */
int stn_id_list_fail(const struct stn_id_list *list, int code, const char *what,
                     struct sterna_error *err);

#endif
