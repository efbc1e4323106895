/* Writes the keys of all samples to FILE, 17 bytes each, in the order in which `sterna read` reads
 * them: epoch after epoch.
 *
 *   order STORE --file FILE --epochs 3 --seed 0 --batch-size 256 */
#include <stdio.h>
#include <stdlib.h>

#include "common.h"

int main(int argc, char **argv) {
    const char *path = option(argc, argv, "file", NULL);
    if (argc < 2 || !path) die("order STORE --file FILE --epochs K");
    struct listing list;
    listing_open(&list, argv[1], argc, argv);
    uint64_t *index = must(malloc(list.n * sizeof *index));
    FILE *file = fopen(path, "w");
    if (!file) die("%s cannot be made", path);
    uint64_t n_epochs = option_number(argc, argv, "epochs", 3);
    for (uint64_t epoch = 0; epoch < n_epochs; epoch++) {
        listing_order(&list, epoch, index);
        for (uint64_t i = 0; i < list.n; i++) {
            fwrite(list.ids[index[i]], 1, STERNA_ID_BYTES, file);
            fputc(list.field, file);
        }
    }
    if (fclose(file) != 0) die("%s cannot be written", path);
    free(index);
    listing_close(&list);
    return 0;
}
