/* Owns a state's file, and the selection that is kept beside it as PATH.selection. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "catalog/selection.h"
#include "request/state.h"

#define STATE_FILE_MAX ((size_t)64 << 20)

static char *selection_path(const char *path) {
    size_t bytes = strlen(path) + sizeof ".selection";
    char *beside = malloc(bytes);
    if (beside) snprintf(beside, bytes, "%s.selection", path);
    return beside;
}

/* The selection is written once: a later save of the same run finds it there. */
static int keep_selection(sterna_selection *selection, const char *beside,
                          struct sterna_error *err) {
    struct sterna_selection_info want, have;
    sterna_selection *kept = NULL;
    sterna_selection_info(selection, &want);
    int same = 0;
    if (access(beside, F_OK) == 0 && stn_selection_open(&kept, beside, NULL) == STERNA_OK) {
        sterna_selection_info(kept, &have);
        same = memcmp(want.hash, have.hash, sizeof want.hash) == 0 && want.run == have.run;
        sterna_selection_close(&kept);
    }
    return same ? STERNA_OK : sterna_selection_save(selection, beside, err);
}

int sterna_state_save(const void *state, size_t bytes, sterna_selection *selection,
                      const char *path, struct sterna_error *err) {
    stn_error_clear(err);
    struct stn_new_file f = {.fd = -1};
    char *beside = selection_path(path);
    int rc = beside ? STERNA_OK : stn_fail_memory(err, path);
    /* Selection first: a state whose selection is missing could not be resumed. */
    if (rc == STERNA_OK && selection) rc = keep_selection(selection, beside, err);
    if (rc == STERNA_OK) rc = stn_new_file_open(&f, path, err);
    if (rc == STERNA_OK && stn_write_all(f.fd, state, bytes) < 0)
        rc = stn_fail_sys(err, STERNA_EIO, "%s: cannot be written", path);
    if (rc == STERNA_OK) rc = stn_new_file_commit(&f, err);
    stn_new_file_close(&f);
    free(beside);
    return rc;
}

int sterna_state_load(const char *path, void **state, size_t *bytes, sterna_selection **selection,
                      struct sterna_error *err) {
    stn_error_clear(err);
    struct stn_state s = {0};
    if (selection) *selection = NULL;
    int rc = stn_file_read(path, STATE_FILE_MAX, state, bytes, err);
    if (rc < 0) return rc;
    struct sterna_error why = {0};
    rc = stn_state_decode(&s, *state, *bytes, &why);
    if (rc < 0) stn_fail(err, rc, "%s: %s", path, why.message);
    stn_state_fini(&s);
    char *beside = selection_path(path);
    if (rc == STERNA_OK && !beside) rc = stn_fail_memory(err, path);
    if (rc == STERNA_OK && selection && access(beside, F_OK) == 0)
        rc = stn_selection_open(selection, beside, err);
    free(beside);
    if (rc < 0) {
        free(*state);
        *state = NULL;
        *bytes = 0;
    }
    return rc;
}
