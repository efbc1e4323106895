/* Prepared statements of a node. */
#ifndef CQLMEM_PREPARE_H
#define CQLMEM_PREPARE_H

#include "request.h"

/* Prepares the text and writes the body of its RESULT. r->statement is not used. */
int prepare_run(struct request *r, const char *text, size_t bytes, struct failure *f);
/* NULL: the node does not know it (any more). */
const struct prepared *prepare_find(const struct node *node, const void *id, size_t bytes);

#endif
