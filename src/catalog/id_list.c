#include "catalog/id_list.h"

#include <errno.h>
#include <string.h>

#include "sterna/store.h"

int stn_id_list_open(struct stn_id_list *list, const uint8_t (*ids)[16], size_t n, const char *path,
                     struct sterna_error *err) {
    *list = (struct stn_id_list){.ids = ids, .n = n, .path = path};
    if (!path) return STERNA_OK;
    list->file = fopen(path, "re");
    if (list->file) return STERNA_OK;
    if (errno == ENOMEM) return stn_fail_memory(err, path);
    return stn_fail_sys(err, errno == ENOENT ? STERNA_ENOTFOUND : STERNA_EIO, "%s", path);
}

void stn_id_list_close(struct stn_id_list *list) {
    if (list->file) fclose(list->file);
    list->file = NULL;
}

int stn_id_list_fail(const struct stn_id_list *list, int code, const char *what,
                     struct sterna_error *err) {
    char text[STERNA_ID_TEXT_BYTES];
    sterna_id_format(list->id, text);
    if (list->path)
        return stn_fail(err, code, "%s:%llu: sample %s %s", list->path,
                        (unsigned long long)list->at, text, what);
    return stn_fail(err, code, "ids[%llu]: sample %s %s", (unsigned long long)list->at - 1, text,
                    what);
}

/* Reads a line into `line`, without its end, cut to fit. 1; 0 at the end of the file. */
static int read_line(struct stn_id_list *list, char *line, size_t cap) {
    size_t used = 0;
    int c, any = 0;
    while ((c = getc_unlocked(list->file)) != EOF && c != '\n') {
        any = 1;
        if (used + 1 < cap) line[used++] = c ? (char)c : '\x01'; /* NUL is wrong, and shown */
    }
    line[used] = '\0';
    return any || c == '\n';
}

/* Cuts comment and blanks off both ends. */
static char *trim(char *line) {
    static const char blanks[] = " \t\r\v\f";
    line[strcspn(line, "#")] = '\0';
    line += strspn(line, blanks);
    size_t n = strlen(line);
    while (n > 0 && strchr(blanks, line[n - 1])) line[--n] = '\0';
    return line;
}

static int next_line(struct stn_id_list *list, struct sterna_error *err) {
    char line[256], shown[128];
    while (read_line(list, line, sizeof line)) {
        list->at++;
        char *text = trim(line);
        if (!text[0]) continue;
        if (sterna_id_parse(text, list->id) == STERNA_OK) return 1;
        return stn_fail(err, STERNA_EINVAL, "%s:%llu: '%s' is no UUID", list->path,
                        (unsigned long long)list->at, stn_printable(text, shown, sizeof shown));
    }
    if (!ferror(list->file)) return 0;
    return stn_fail_sys(err, STERNA_EIO, "%s: cannot be read", list->path);
}

int stn_id_list_next(struct stn_id_list *list, struct sterna_error *err) {
    if (list->file) return next_line(list, err);
    if (list->at == list->n) return 0;
    memcpy(list->id, list->ids[list->at++], 16);
    return 1;
}
