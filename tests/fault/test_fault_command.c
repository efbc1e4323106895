/* The command itself while memory or the disk fail: one message and exit code 1, or all of the
 * output that it gives when nothing fails. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "fault/sweep.h"
#include "support/dataset.h"
#include "support/temporary.h"

int sterna_main(int argc, char **argv); /* the command's main() */

enum { PER_CLASS = 5, ARGS_MAX = 16 };

static char *base; /* holds the store, the folder, and what each command prints undisturbed */

struct command {
    const char *name;
    int same_output; /* it prints the same each time */
    const char *args[ARGS_MAX];
};

/* %s stands for the store, %d for the round's directory, %f for the folder. */
static const struct command commands[] = {
    {"sterna info", 1, {"info", "%s", "--json"}},
    {"sterna info, as text", 1, {"info", "%s"}},
    {"sterna query", 1, {"query", "%s", "label > 0", "--format", "csv"}},
    {"sterna query, as a table", 1, {"query", "%s", "--columns", "path,score,note"}},
    {"sterna query --save", 0, {"query", "%s", "label > 0", "--save", "%d/saved.sel"}},
    {"sterna split", 1, {"split", "%s", "--parts", "a=0.5,b=0.5", "--by", "note", "--json"}},
    {"sterna split, as text", 1, {"split", "%s", "--parts", "a=0.5,b=0.5", "--stratify", "class"}},
    {"sterna plan", 1, {"plan", "%s", "--seed", "3", "--batch-size", "4", "--step", "2"}},
    {"sterna read",
     0,
     {"read", "%s", "--json", "--verify", "--batch-size", "4", "--memory", "1M", "--state",
      "%d/state", "--report", "%d/report.html"}},
    {"sterna verify", 0, {"verify", "%s", "--source", "%f", "--json"}},
    {"sterna ingest",
     0,
     {"ingest", "%d/new", "%f", "--field", "caption=.txt", "--metadata", "%f/../meta.csv",
      "--json"}},
};

static const struct command *command; /* of the works that run now */
static int lasting;                   /* in the sweep that runs now */
static int kept[2];                   /* the round's own stdout and stderr */

static void fill_in(const char *arg, const char *dir, char *out, size_t cap) {
    const char *what = strncmp(arg, "%s", 2) == 0   ? test_path(base, "store")
                       : strncmp(arg, "%f", 2) == 0 ? test_path(base, "data/images")
                       : strncmp(arg, "%d", 2) == 0 ? dir
                                                    : NULL;
    snprintf(out, cap, "%s%s", what ? what : "", what ? arg + 2 : arg);
}

static void redirect(const char *dir) {
    static const char *const names[] = {"out", "err"};
    fflush(NULL);
    for (int i = 0; i < 2; i++) {
        int fd = open(test_path(dir, names[i]), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        kept[i] = dup(1 + i);
        if (fd < 0 || kept[i] < 0 || dup2(fd, 1 + i) < 0) round_fail("no file for the output");
        close(fd);
    }
}

static void restore(void) {
    for (int i = 0; i < 2; i++) { /* the command has closed its stdout */
        dup2(kept[i], 1 + i);
        close(kept[i]);
    }
}

static void read_text(const char *path, char *text, size_t cap) {
    FILE *f = fopen(path, "r");
    size_t n = f ? fread(text, 1, cap - 1, f) : 0;
    text[n] = '\0';
    if (f) fclose(f);
}

/* The one message that there must be, and the library's code it stands for. Where everything fails
 * from some moment on, the state and the report that cannot be written have messages, too. */
static int take_message(const char *dir, struct sterna_error *err) {
    char text[4096];
    read_text(test_path(dir, "err"), text, sizeof text);
    char *line = strncmp(text, "sterna: ", 8) == 0 ? text : strstr(text, "\nsterna: ");
    if (!line) round_fail("no message: '%s'", text);
    line += line != text;
    if (!lasting && strstr(line + 8, "\nsterna: ")) round_fail("two messages: '%s'", text);
    err->code = strstr(line, "emory") ? STERNA_ENOMEM : STERNA_EIO;
    snprintf(err->message, sizeof err->message, "%.500s", line);
    return err->code;
}

static int run(const char *dir, struct sterna_error *err) {
    static char texts[ARGS_MAX][1024];
    char *argv[ARGS_MAX + 2] = {texts[0]};
    int argc = 1;
    snprintf(texts[0], sizeof texts[0], "sterna");
    for (; argc < ARGS_MAX && command->args[argc - 1]; argc++) {
        fill_in(command->args[argc - 1], dir, texts[argc], sizeof texts[0]);
        argv[argc] = texts[argc];
    }
    int code = sterna_main(argc, argv);
    uint64_t failed;
    fault_disarm(&failed); /* a second time does no harm */
    restore();
    /* A file that cannot be read is an input skipped (3), or a sample that differs (4). */
    if (code == 0 || code == 3 || code == 4) return STERNA_OK;
    if (code != 1) round_fail("exit code %d", code);
    return take_message(dir, err);
}

static void check(const char *dir, int rc) {
    static char text[1 << 16], whole[1 << 16];
    struct stat st;
    if (rc < 0) return;
    read_text(test_path(dir, "out"), text, sizeof text);
    if (stat(test_path(base, "whole"), &st) < 0) { /* the first round, which nothing disturbs */
        FILE *f = fopen(test_path(base, "whole"), "w");
        if (!f || fputs(text, f) < 0 || fclose(f) != 0) round_fail("no file");
        return;
    }
    read_text(test_path(base, "whole"), whole, sizeof whole);
    if (command->same_output && strcmp(text, whole) != 0)
        round_fail("other output: '%.300s' instead of '%.300s'", text, whole);
    if (!command->same_output && whole[0] && !text[0]) round_fail("no output");
}

static void make_store(const char *dir) {
    struct sterna_error err = {0};
    if (dataset_ingest(test_path(dir, "store"), test_path(dir, "data"), NULL, &err) < 0)
        round_fail("cannot be made: %s", err.message);
}

int main(void) {
    static const struct sweep sweeps[] = {
        {FAULT_MEMORY, 0, 120}, {FAULT_MEMORY, 1, 60}, {FAULT_EIO, 0, 60},
        {FAULT_FULL, 1, 30},    {FAULT_SIGNAL, 0, 30},
    };
    base = sweep_dir();
    dataset_make(test_path(base, "data"), 0, PER_CLASS);
    int bad = in_child(make_store, base);
    for (size_t i = 0; i < STN_COUNT(commands); i++) {
        command = &commands[i];
        struct work work = {command->name, redirect, run, check};
        unlink(test_path(base, "whole"));
        for (size_t k = 0; k < STN_COUNT(sweeps); k++) {
            lasting = sweeps[k].lasting;
            bad |= sweep_run(&work, &sweeps[k], base);
        }
    }
    test_dir_remove(&base);
    return bad;
}
