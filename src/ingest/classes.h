/* Classes of a folder whose metadata file has a column `class`. */
#ifndef STN_CLASSES_H
#define STN_CLASSES_H

#include "ingest/layout.h"
#include "ingest/metadata.h"

/* Makes layout->classes the union of what the column names and of those directories that have an
 * image (by suffix) without a class there: so that a mere container ("images/") is none. Walks the
 * folder once. ENOMEM, EIO. */
int stn_classes_join(struct stn_layout *layout, struct stn_metadata *metadata, int root_fd,
                     const struct stn_walk_inode *skip, struct sterna_error *err);

#endif
