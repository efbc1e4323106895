/* A small data set for tests of whole stores: a folder of pictures in classes, captions beside some
 * of them, a CSV; and the look whether a store holds exactly that. */
#ifndef TEST_DATASET_H
#define TEST_DATASET_H

#include "sterna/sterna.h"

enum { DATASET_CLASSES = 3, DATASET_PER_CLASS_MAX = 256 };

/* Bytes behind the end of every third picture, so that its value needs pages of its own: 20,000. */
extern size_t dataset_padding_bytes;

/* DIR/images/CLASS/NN.{jpg,png}, NN.txt beside every second, and DIR/meta.csv. Every third picture
 * is padded behind its end, so that its value needs pages of its own. Counting from `first`, so
 * that more can be added later. */
void dataset_make(const char *dir, unsigned first, unsigned n_per_class);

/* What all tests ingest it with. `o` and what it points to are valid until the next call. */
const struct sterna_ingest_options *dataset_options(const char *dir);

/* Opens (or makes) STORE and ingests DIR. `result` and `err` may be NULL. */
int dataset_ingest(const char *store, const char *dir, struct sterna_ingest_result *result,
                   struct sterna_error *err);

/* The same samples by the calls that add them one by one, and commits. make() comes first: add
 * itself allocates nothing. OK also if some were there before. */
void dataset_add_make(unsigned n_per_class);
int dataset_add(const char *store, unsigned n_per_class, struct sterna_error *err);

/* NULL if STORE lists the folder's samples, each once, with the right bytes, captions, classes,
 * labels and values; else what is wrong, in a static buffer. */
const char *dataset_problem(const char *store, unsigned n_per_class);

/* The same, and for its bytes: there is no value but those that are listed. What a run that failed
 * has left behind is legal, and used by the run that completes it. *runs (may be NULL): committed
 * ones. */
const char *dataset_problem_exact(const char *store, unsigned n_per_class, int *runs);

/* What came out of a loader. see() takes a batch of fields image and caption, and allocates
 * nothing; the selection carries `path` as its first column. problem() compares: NULL if each
 * picture came `times` times with the right bytes. */
struct dataset_seen {
    unsigned strange, times[DATASET_CLASSES][DATASET_PER_CLASS_MAX];
    uint32_t crc[DATASET_CLASSES][DATASET_PER_CLASS_MAX][2];
    uint8_t null[DATASET_CLASSES][DATASET_PER_CLASS_MAX][2];
};
void dataset_see(struct dataset_seen *seen, const sterna_batch *b,
                 const sterna_selection *selection);
const char *dataset_seen_problem(const struct dataset_seen *seen, unsigned n_per_class,
                                 unsigned times);

/* Committed runs of STORE; -1 if it cannot be opened. */
int dataset_runs(const char *store);

#endif
