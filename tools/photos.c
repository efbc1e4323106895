/* Cuts a data set of small photographs out of a few large ones, for the demo and for benchmarks:
 * distinct crops of about 500x375, a class for each photograph, JPEG files of a wanted mean size.
 * The same seed cuts the same crops. It knows nothing of stores. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jpeglib.h> /* after stdio.h */

#include "base/base.h"
#include "base/philox.h"

enum { LONG_SIDE = 500, SHORT_SIDE = 375, SCALE_MAX = 3, DRAWS_MAX = 2000, SAMPLE_MAX = 160 };

struct photo {
    const char *path;
    char *class_name;
    int width, height;
    uint8_t *rgb;
    char error[JMSG_LENGTH_MAX]; /* "" if it could be decoded */
};

struct crop {
    int x, y, width, height; /* in the crop's pixels, each the mean of scale x scale pixels */
    int scale;
    uint32_t chance; /* decides between two neighbouring qualities */
};

struct work {
    struct photo *photos;
    size_t n_photos;
    struct crop *crops; /* crop i is of photo i % n_photos */
    size_t n_crops;
    const char *out_dir;
    uint64_t mean_bytes;
    int quality; /* of the encoder; quality + 1 where chance < finer */
    uint64_t finer;
    int full_chroma;
    _Atomic uint64_t bytes;
    _Atomic size_t done;
    _Atomic int failed;
};

/* ---- threads: each index once ---- */

struct team {
    void (*each)(struct work *w, size_t i);
    struct work *work;
    size_t n;
    _Atomic size_t next;
};

static void *member(void *arg) {
    struct team *t = arg;
    for (size_t i; (i = atomic_fetch_add(&t->next, 1)) < t->n && !t->work->failed;)
        t->each(t->work, i);
    return NULL;
}

static void in_parallel(struct work *w, size_t n, void (*each)(struct work *, size_t)) {
    struct team team = {.each = each, .work = w, .n = n};
    pthread_t threads[16];
    size_t n_threads = 0;
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    while (n_threads + 1 < STN_MIN(STN_COUNT(threads), (size_t)STN_MAX(cpus, 1)) &&
           pthread_create(&threads[n_threads], NULL, member, &team) == 0)
        n_threads++;
    member(&team);
    while (n_threads > 0) pthread_join(threads[--n_threads], NULL);
}

/* ---- JPEG ---- */

struct jpeg_trap { /* libjpeg's way to report an error is not to return */
    struct jpeg_error_mgr manager;
    jmp_buf back;
    char *message; /* JMSG_LENGTH_MAX bytes */
};

static void on_jpeg_error(j_common_ptr c) {
    struct jpeg_trap *trap = STN_OUTER(c->err, struct jpeg_trap, manager);
    c->err->format_message(c, trap->message);
    longjmp(trap->back, 1);
}

static void on_jpeg_warning(j_common_ptr c, int level) {
    (void)c, (void)level; /* a slightly damaged photograph still is one */
}

static struct jpeg_error_mgr *trap_init(struct jpeg_trap *trap, char *message) {
    struct jpeg_error_mgr *m = jpeg_std_error(&trap->manager);
    m->error_exit = on_jpeg_error;
    m->emit_message = on_jpeg_warning;
    trap->message = message;
    return m;
}

static void decode(struct work *w, size_t i) {
    struct photo *p = &w->photos[i];
    struct jpeg_decompress_struct d = {0};
    struct jpeg_trap trap;
    FILE *file = fopen(p->path, "rb");
    if (!file) {
        snprintf(p->error, sizeof p->error, "%s", strerror(errno));
        return;
    }
    d.err = trap_init(&trap, p->error);
    if (setjmp(trap.back) == 0) {
        jpeg_create_decompress(&d);
        jpeg_stdio_src(&d, file);
        jpeg_read_header(&d, TRUE);
        d.out_color_space = JCS_RGB;
        jpeg_start_decompress(&d);
        p->width = (int)d.output_width;
        p->height = (int)d.output_height;
        p->rgb = stn_array((size_t)p->width * 3, (size_t)p->height);
        if (!p->rgb) snprintf(p->error, sizeof p->error, "out of memory");
        while (p->rgb && d.output_scanline < d.output_height) {
            JSAMPROW row = p->rgb + (size_t)d.output_scanline * (size_t)p->width * 3;
            jpeg_read_scanlines(&d, &row, 1);
        }
    }
    jpeg_destroy_decompress(&d); /* also what jpeg_finish_decompress() would refuse half-way */
    fclose(file);
}

/* The pixels of a crop, width * height * 3 bytes. */
static void cut(const struct photo *p, const struct crop *c, uint8_t *to) {
    unsigned area = (unsigned)(c->scale * c->scale);
    for (int y = 0; y < c->height; y++)
        for (int x = 0; x < c->width; x++) {
            unsigned red = area / 2, green = area / 2, blue = area / 2;
            for (int dy = 0; dy < c->scale; dy++) {
                size_t row = (size_t)((c->y + y) * c->scale + dy);
                size_t column = (size_t)((c->x + x) * c->scale);
                const uint8_t *from = p->rgb + (row * (size_t)p->width + column) * 3;
                for (int dx = 0; dx < c->scale; dx++, from += 3) {
                    red += from[0];
                    green += from[1];
                    blue += from[2];
                }
            }
            *to++ = (uint8_t)(red / area);
            *to++ = (uint8_t)(green / area);
            *to++ = (uint8_t)(blue / area);
        }
}

/* A crop as JPEG: *out is malloc'ed. 0 bytes if there was no memory. */
static unsigned long encode(const struct work *w, size_t i, unsigned char **out) {
    const struct crop *c = &w->crops[i];
    struct jpeg_compress_struct e = {0};
    struct jpeg_trap trap;
    char message[JMSG_LENGTH_MAX];
    unsigned long bytes = 0;
    uint8_t *rgb = stn_array((size_t)c->width * 3, (size_t)c->height);
    *out = NULL;
    if (!rgb) return 0;
    cut(&w->photos[i % w->n_photos], c, rgb);

    e.err = trap_init(&trap, message);
    if (setjmp(trap.back) == 0) {
        jpeg_create_compress(&e);
        jpeg_mem_dest(&e, out, &bytes);
        e.image_width = (JDIMENSION)c->width;
        e.image_height = (JDIMENSION)c->height;
        e.input_components = 3;
        e.in_color_space = JCS_RGB;
        jpeg_set_defaults(&e);
        jpeg_set_quality(&e, w->quality + (c->chance < w->finer), TRUE);
        if (w->full_chroma) e.comp_info[0].h_samp_factor = e.comp_info[0].v_samp_factor = 1;
        jpeg_start_compress(&e, TRUE);
        while (e.next_scanline < e.image_height) {
            JSAMPROW row = rgb + (size_t)e.next_scanline * (size_t)c->width * 3;
            jpeg_write_scanlines(&e, &row, 1);
        }
        jpeg_finish_compress(&e);
    } else {
        bytes = 0;
    }
    jpeg_destroy_compress(&e);
    free(rgb);
    return bytes;
}

/* ---- which crops ---- */

static int same_place(const struct crop *a, const struct crop *b) {
    return a->x == b->x && a->y == b->y && a->scale == b->scale && a->width == b->width;
}

/* Does it show something? Two crops of a black sky would be one picture. */
static int shows(const struct photo *p, const struct crop *c) {
    int low = 255, high = 0;
    for (int i = 0; i < 16 * 16; i++) {
        size_t y = (size_t)((c->y + c->height * (i / 16) / 16) * c->scale);
        size_t x = (size_t)((c->x + c->width * (i % 16) / 16) * c->scale);
        int green = p->rgb[(y * (size_t)p->width + x) * 3 + 1];
        low = STN_MIN(low, green);
        high = STN_MAX(high, green);
    }
    return high - low >= 48;
}

/* Crop i, distinct from those before it; 0 if the photograph has no room for one more. */
static int place(const struct work *w, uint64_t seed, size_t i) {
    const struct photo *p = &w->photos[i % w->n_photos];
    struct crop *c = &w->crops[i];
    for (uint32_t draw = 0; draw < DRAWS_MAX; draw++) {
        struct stn_philox r = stn_philox4x32((struct stn_philox){{(uint32_t)i, 0, 0, draw}},
                                             (uint32_t)seed, (uint32_t)(seed >> 32));
        int upright = r.v[0] % 4 == 0;
        c->width = upright ? SHORT_SIDE : LONG_SIDE;
        c->height = upright ? LONG_SIDE : SHORT_SIDE;
        c->scale = 1 + (int)(r.v[0] / 4 % SCALE_MAX);
        int room_x = p->width / c->scale - c->width, room_y = p->height / c->scale - c->height;
        if (room_x < 0 || room_y < 0) continue;
        c->x = (int)(r.v[1] % ((uint32_t)room_x + 1));
        c->y = (int)(r.v[2] % ((uint32_t)room_y + 1));
        c->chance = r.v[3];
        if (!shows(p, c)) continue;
        size_t before = i % w->n_photos;
        while (before < i && !same_place(c, &w->crops[before])) before += w->n_photos;
        if (before == i) return 1;
    }
    return 0;
}

/* ---- which quality gives the mean ---- */

static void measure(struct work *w, size_t i) {
    unsigned char *jpeg;
    atomic_fetch_add(&w->bytes, encode(w, i, &jpeg));
    free(jpeg);
}

static double mean_at(struct work *w, int quality, size_t n) {
    w->quality = quality;
    w->bytes = 0;
    in_parallel(w, n, measure);
    return (double)w->bytes / (double)n;
}

/* Bisects on the first crops; a mixture of two neighbouring qualities then meets the mean. */
static void choose_quality(struct work *w) {
    size_t n = STN_MIN(w->n_crops, SAMPLE_MAX);
    double want = (double)w->mean_bytes;
    w->full_chroma = mean_at(w, 100, n) < want;
    int low = 30, high = 100;
    while (high - low > 1) {
        int middle = (low + high) / 2;
        if (mean_at(w, middle, n) <= want)
            low = middle;
        else
            high = middle;
    }
    double coarse = mean_at(w, low, n), fine = mean_at(w, high, n);
    double share = fine > coarse ? (want - coarse) / (fine - coarse) : 0;
    w->finer = (uint64_t)(STN_MIN(STN_MAX(share, 0), 1) * 4294967296.0);
    w->quality = low;
    w->bytes = 0;
}

/* ---- files ---- */

static void write_crop(struct work *w, size_t i) {
    char path[4096];
    unsigned char *jpeg;
    size_t bytes = encode(w, i, &jpeg);
    snprintf(path, sizeof path, "%s/%s/%06zu.jpg", w->out_dir,
             w->photos[i % w->n_photos].class_name, i / w->n_photos);
    FILE *file = bytes ? fopen(path, "wb") : NULL;
    int ok = file && fwrite(jpeg, 1, bytes, file) == bytes;
    if (file && fclose(file) != 0) ok = 0;
    if (!ok && !atomic_exchange(&w->failed, 1))
        fprintf(stderr, "photos: %s: %s\n", path, bytes ? strerror(errno) : "out of memory");
    free(jpeg);
    atomic_fetch_add(&w->bytes, bytes);
    size_t done = atomic_fetch_add(&w->done, 1) + 1;
    if (isatty(STDERR_FILENO) && (done % 50 == 0 || done == w->n_crops))
        fprintf(stderr, "\r%zu of %zu%s", done, w->n_crops, done == w->n_crops ? "\n" : "");
}

/* The file's name without folder and suffix: a class that says whose photograph it is. */
static char *class_of(const char *path) {
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    const char *dot = strrchr(name, '.');
    return strndup(name, dot && dot > name ? (size_t)(dot - name) : strlen(name));
}

static int make_folders(const struct work *w) {
    char path[4096];
    for (size_t i = 0; i < w->n_photos; i++) {
        snprintf(path, sizeof path, "%s/%s", w->out_dir, w->photos[i].class_name);
        if (mkdir(w->out_dir, 0777) != 0 && errno != EEXIST) break;
        if (mkdir(path, 0777) != 0) break;
        if (i + 1 == w->n_photos) return 1;
    }
    fprintf(stderr, "photos: %s: %s\n", path, strerror(errno));
    return 0;
}

/* Leaves the photographs that can be used at the front. */
static void drop_unusable(struct work *w) {
    size_t kept = 0;
    for (size_t i = 0; i < w->n_photos; i++) {
        struct photo *p = &w->photos[i];
        int too_small = p->width < 2 * LONG_SIDE || p->height < 2 * SHORT_SIDE;
        if (!p->error[0] && !too_small) {
            w->photos[kept++] = *p;
            continue;
        }
        fprintf(stderr, "photos: left out: %s: %s\n", p->path,
                p->error[0] ? p->error : "too small to cut from");
        free(p->rgb);
        free(p->class_name);
    }
    w->n_photos = kept;
}

static int run(struct work *w, uint64_t seed) {
    in_parallel(w, w->n_photos, decode);
    drop_unusable(w);
    if (w->n_photos == 0) {
        fprintf(stderr, "photos: no photograph to cut from\n");
        return 1;
    }
    for (size_t i = 0; i < w->n_crops; i++) {
        if (place(w, seed, i)) continue;
        fprintf(stderr, "photos: %s has no room for %zu distinct crops\n",
                w->photos[i % w->n_photos].path, w->n_crops / w->n_photos + 1);
        return 1;
    }
    choose_quality(w);
    if (!make_folders(w)) return 1;
    in_parallel(w, w->n_crops, write_crop);
    if (w->failed) return 1;
    printf("%zu photographs of %zu classes, %.1f kB on average\n", w->n_crops,
           STN_MIN(w->n_photos, w->n_crops), (double)w->bytes / (double)w->n_crops / 1000);
    return 0;
}

static uint64_t number(const char *option, const char *text, uint64_t most) {
    char *end;
    errno = 0;
    unsigned long long v = strtoull(text, &end, 10);
    if (errno || end == text || *end || *text == '-' || v > most) {
        fprintf(stderr, "photos: %s %s is not a number of at most %llu\n", option, text,
                (unsigned long long)most);
        exit(2);
    }
    return v;
}

int main(int argc, char **argv) {
    struct work w = {.n_crops = 4000, .mean_bytes = 110000};
    uint64_t seed = 1;
    for (int opt; (opt = getopt(argc, argv, "n:b:s:")) != -1;) {
        if (opt == 'n')
            w.n_crops = number("-n", optarg, UINT32_MAX);
        else if (opt == 'b')
            w.mean_bytes = number("-b", optarg, 1000000);
        else if (opt == 's')
            seed = number("-s", optarg, UINT64_MAX);
        else
            argc = 0;
    }
    if (argc - optind < 2 || w.n_crops == 0) {
        fprintf(stderr,
                "usage: photos [-n COUNT] [-b MEAN_BYTES] [-s SEED] OUT_DIR PHOTO.jpg...\n"
                "cuts COUNT distinct photographs out of those given; OUT_DIR must be new\n");
        return 2;
    }
    w.out_dir = argv[optind];
    w.n_photos = (size_t)(argc - optind - 1);
    w.photos = stn_array(w.n_photos, sizeof *w.photos);
    w.crops = stn_array(w.n_crops, sizeof *w.crops);
    int rc = 1;
    size_t named = 0;
    for (; w.photos && named < w.n_photos; named++) {
        w.photos[named].path = argv[optind + 1 + (int)named];
        w.photos[named].class_name = class_of(w.photos[named].path);
        if (!w.photos[named].class_name) break;
    }
    if (w.crops && w.photos && named == w.n_photos)
        rc = run(&w, seed);
    else
        fprintf(stderr, "photos: out of memory\n");
    for (size_t i = 0; w.photos && i < w.n_photos; i++) {
        free(w.photos[i].rgb);
        free(w.photos[i].class_name);
    }
    free(w.photos);
    free(w.crops);
    return rc;
}
