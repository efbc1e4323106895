#include "catalog/apportion.h"

#include <math.h>
#include <string.h>

/* ---- rounding a table so that its rows and columns add up ---- */

struct table {
    size_t n_strata, n_parts;
    const double *shares;
    const uint64_t *sizes;
    uint64_t *got;      /* rounded down, then up where `up` */
    uint8_t *may, *up;  /* [s][p]: not whole, so it may be rounded up; and is */
    int64_t *due;       /* [p]: how many more of the part's cells must be rounded up */
    size_t *from, *via; /* of a path through parts: the part before, the stratum between */
};

static double slack(double size) { return 1e-9 + 1e-12 * size; } /* of a product of doubles */

static uint64_t round_down(double size, double share) {
    return (uint64_t)floor(size * share + slack(size));
}

static int is_whole(double size, double share) {
    return fabs(size * share - nearbyint(size * share)) <= slack(size);
}

/* Nearest whole numbers to the parts' shares of n that add up to n. */
static void largest_remainder(const struct table *t, uint64_t n, int64_t *totals) {
    int64_t left = (int64_t)n;
    for (size_t p = 0; p < t->n_parts; p++) {
        totals[p] = (int64_t)round_down((double)n, t->shares[p]);
        left -= totals[p];
    }
    for (; left > 0; left--) {
        size_t best = 0;
        double most = -1;
        for (size_t p = 0; p < t->n_parts; p++) {
            double lacks = (double)n * t->shares[p] - (double)totals[p];
            if (lacks <= most) continue;
            most = lacks;
            best = p;
        }
        totals[best]++;
    }
}

static void round_all_down(struct table *t) {
    for (size_t s = 0; s < t->n_strata; s++)
        for (size_t p = 0; p < t->n_parts; p++) {
            size_t cell = s * t->n_parts + p;
            t->got[cell] = round_down((double)t->sizes[s], t->shares[p]);
            t->may[cell] = !is_whole((double)t->sizes[s], t->shares[p]);
            t->due[p] -= (int64_t)t->got[cell];
        }
}

/* Rounds up as many cells of a row as it takes to add up, those of the parts first that are most
 * in need of it. */
static void fill_row(struct table *t, size_t s) {
    uint8_t *may = t->may + s * t->n_parts, *up = t->up + s * t->n_parts;
    uint64_t sum = 0;
    for (size_t p = 0; p < t->n_parts; p++) sum += t->got[s * t->n_parts + p];
    for (; sum < t->sizes[s]; sum++) {
        size_t best = t->n_parts;
        for (size_t p = 0; p < t->n_parts; p++)
            if (may[p] && !up[p] && (best == t->n_parts || t->due[p] > t->due[best])) best = p;
        if (best == t->n_parts) return;
        up[best] = 1;
        t->due[best]--;
    }
}

/* A stratum in which `from` is rounded up and `to` could be instead; n_strata if there is none. */
static size_t exchange(const struct table *t, size_t from, size_t to) {
    for (size_t s = 0; s < t->n_strata; s++) {
        const uint8_t *may = t->may + s * t->n_parts, *up = t->up + s * t->n_parts;
        if (up[from] && !up[to] && may[to]) return s;
    }
    return t->n_strata;
}

/* Breadth-first from a part that has one too many to one that has too few: its number, with the way
 * in from[] and via[]; n_parts if there is no way. */
static size_t find_way(const struct table *t, size_t start, size_t *queue) {
    size_t head = 0, tail = 0;
    for (size_t p = 0; p < t->n_parts; p++) t->from[p] = t->n_parts;
    t->from[start] = start;
    queue[tail++] = start;
    while (head < tail) {
        size_t at = queue[head++];
        if (t->due[at] > 0) return at;
        for (size_t to = 0; to < t->n_parts; to++) {
            if (t->from[to] != t->n_parts) continue;
            size_t s = exchange(t, at, to);
            if (s == t->n_strata) continue;
            t->from[to] = at;
            t->via[to] = s;
            queue[tail++] = to;
        }
    }
    return t->n_parts;
}

static void balance(struct table *t, size_t *queue) {
    for (size_t start = 0; start < t->n_parts; start++) {
        while (t->due[start] < 0) {
            size_t end = find_way(t, start, queue);
            if (end == t->n_parts) break; /* rows and totals cannot both be had */
            t->due[end]--;
            t->due[start]++;
            for (size_t p = end; p != start; p = t->from[p]) {
                t->up[t->via[p] * t->n_parts + p] = 1;
                t->up[t->via[p] * t->n_parts + t->from[p]] = 0;
            }
        }
    }
}

int stn_apportion(const uint64_t *sizes, size_t n_strata, const double *shares, size_t n_parts,
                  uint64_t *got) {
    struct table t = {.n_strata = n_strata,
                      .n_parts = n_parts,
                      .shares = shares,
                      .sizes = sizes,
                      .got = got,
                      .may = stn_array(n_strata, n_parts),
                      .up = stn_array(n_strata, n_parts),
                      .due = stn_array(n_parts, sizeof *t.due),
                      .from = stn_array(n_parts, sizeof *t.from),
                      .via = stn_array(n_parts, sizeof *t.via)};
    size_t *queue = stn_array(n_parts, sizeof *queue);
    int rc = t.may && t.up && t.due && t.from && t.via && queue ? STERNA_OK : STERNA_ENOMEM;
    if (rc == STERNA_OK) {
        uint64_t n = 0;
        for (size_t s = 0; s < n_strata; s++) n += sizes[s];
        largest_remainder(&t, n, t.due);
        round_all_down(&t);
        for (size_t s = 0; s < n_strata; s++) fill_row(&t, s);
        balance(&t, queue);
        for (size_t i = 0; i < n_strata * n_parts; i++) got[i] += t.up[i];
    }
    free(t.may);
    free(t.up);
    free(t.due);
    free(t.from);
    free(t.via);
    free(queue);
    return rc;
}

/* ---- cutting ---- */

static int compare_groups(const void *a, const void *b, void *ctx) {
    const struct stn_groups *g = ctx;
    const struct stn_group *one = &g->all[*(const uint32_t *)a];
    const struct stn_group *two = &g->all[*(const uint32_t *)b];
    if (one->stratum != two->stratum) return one->stratum < two->stratum ? -1 : 1;
    if (one->hash != two->hash) return one->hash < two->hash ? -1 : 1;
    return memcmp(one->key, two->key, sizeof one->key);
}

struct cut {
    struct stn_groups *groups;
    const uint32_t *order; /* groups by stratum and hash */
    size_t n_parts;
    double *ends;     /* [p]: where part p shall end, in samples of the stratum */
    int64_t *behind;  /* [p]: by how much parts 0..p ended too early in the strata so far */
    int64_t *reached; /* [p]: where it ended */
};

/* Cuts the groups order[first..last) of one stratum. A group goes to the part in which its middle
 * lies: so each end is the border between groups nearest to where it shall be. */
static void cut_stratum(struct cut *c, size_t first, size_t last, const uint64_t *wanted) {
    int64_t sum = 0;
    for (size_t p = 0; p < c->n_parts; p++) {
        sum += (int64_t)wanted[p];
        c->ends[p] = (double)(sum + c->behind[p]);
        c->reached[p] = 0;
    }
    uint64_t at = 0;
    uint32_t part = 0;
    for (size_t i = first; i < last; i++) {
        struct stn_group *group = &c->groups->all[c->order[i]];
        double middle = (double)at + (double)group->n / 2;
        while (part + 1 < c->n_parts && middle > c->ends[part]) part++;
        group->part = part;
        at += group->n;
        c->reached[part] += (int64_t)group->n;
    }
    int64_t wanted_to = 0, reached_to = 0;
    for (size_t p = 0; p < c->n_parts; p++) {
        wanted_to += (int64_t)wanted[p];
        reached_to += c->reached[p];
        c->behind[p] += wanted_to - reached_to;
    }
}

static int cut_all(struct cut *c, size_t n_strata, const double *shares) {
    const struct stn_groups *g = c->groups;
    uint64_t *sizes = stn_array(n_strata, sizeof *sizes);
    uint64_t *wanted = stn_array(n_strata, c->n_parts * sizeof *wanted);
    int rc = sizes && wanted ? STERNA_OK : STERNA_ENOMEM;
    for (size_t i = 0; i < g->n && rc == STERNA_OK; i++) sizes[g->all[i].stratum] += g->all[i].n;
    if (rc == STERNA_OK) rc = stn_apportion(sizes, n_strata, shares, c->n_parts, wanted);
    for (size_t first = 0, last; first < g->n && rc == STERNA_OK; first = last) {
        uint32_t stratum = g->all[c->order[first]].stratum;
        for (last = first; last < g->n && g->all[c->order[last]].stratum == stratum;) last++;
        cut_stratum(c, first, last, wanted + stratum * c->n_parts);
    }
    free(sizes);
    free(wanted);
    return rc;
}

int stn_groups_cut(struct stn_groups *g, size_t n_strata, const double *shares, size_t n_parts) {
    uint32_t *order = stn_array(g->n, sizeof *order);
    struct cut c = {.groups = g,
                    .order = order,
                    .n_parts = n_parts,
                    .ends = stn_array(n_parts, sizeof *c.ends),
                    .behind = stn_array(n_parts, sizeof *c.behind),
                    .reached = stn_array(n_parts, sizeof *c.reached)};
    int rc = order && c.ends && c.behind && c.reached ? STERNA_OK : STERNA_ENOMEM;
    for (uint32_t i = 0; rc == STERNA_OK && i < g->n; i++) order[i] = i;
    if (rc == STERNA_OK) qsort_r(order, g->n, sizeof *order, compare_groups, g);
    if (rc == STERNA_OK) rc = cut_all(&c, n_strata, shares);
    free(order);
    free(c.ends);
    free(c.behind);
    free(c.reached);
    return rc;
}
