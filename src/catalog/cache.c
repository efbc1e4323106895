/* The selection of all samples, kept from one opening of a store to the next. */
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "catalog/select.h"

char *stn_cached_path(const char *dir, const struct stn_cached *want) {
    size_t bytes = strlen(dir) + 96;
    char *path = malloc(bytes), columns[16] = "";
    if (!path) return NULL;
    uint32_t digest = 0; /* two lists of one digest replace each other: slow, never wrong */
    for (size_t i = 0; i < want->n_columns; i++)
        digest = stn_crc32c(digest, want->columns[i], strlen(want->columns[i]) + 1);
    if (want->n_columns > 0) snprintf(columns, sizeof columns, "-%08x", digest);
    snprintf(path, bytes, "%s/" STN_CACHE_DIR "/all-%llu-%u%s.sel", dir,
             (unsigned long long)want->run, want->n_fields, columns);
    return path;
}

static int is_wanted(const sterna_selection *s, const struct stn_cached *want) {
    struct sterna_selection_info info;
    sterna_selection_info(s, &info);
    int same = memcmp(info.dataset_id, want->dataset_id, 16) == 0 && info.run == want->run &&
               info.n_fields == want->n_fields && info.n_columns == want->n_columns &&
               info.where[0] == '\0';
    for (uint32_t i = 0; i < want->n_columns && same; i++)
        same = strcmp(sterna_selection_column_name(s, i), want->columns[i]) == 0;
    return same;
}

int stn_cached_open(sterna_selection **out, const char *path, const struct stn_cached *want) {
    int rc = stn_selection_open(out, path, NULL);
    if (rc < 0 || is_wanted(*out, want)) return rc;
    sterna_selection_close(out);
    return STERNA_EMISMATCH;
}

void stn_cached_remove_older(const char *cache_dir, uint64_t run) {
    DIR *dir = opendir(cache_dir);
    struct dirent *entry;
    while (dir && (entry = readdir(dir))) {
        unsigned long long its_run;
        int ours = sscanf(entry->d_name, "all-%llu-", &its_run) == 1; /* cut-off ones too */
        if (ours && its_run < run) unlinkat(dirfd(dir), entry->d_name, 0);
    }
    if (dir) closedir(dir);
}
