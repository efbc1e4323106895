#include "ingest/ahead.h"

void stn_ahead_init(struct stn_ahead *a, struct stn_jobs *jobs, struct stn_values *values) {
    size_t most = values->ops->expect ? STN_MIN(STN_AHEAD_MAX, jobs->n) : 1;
    *a = (struct stn_ahead){.jobs = jobs, .values = values, .most = most};
}

static void hold(struct stn_ahead *a, struct stn_job *job) {
    int is_looked_up = job->is_sample && job->outcome == STERNA_ADDED;
    if (is_looked_up && a->values->ops->expect) a->values->ops->expect(a->values, job->id);
    stn_job_push(&a->held, job);
    a->n++;
}

int stn_ahead_next(struct stn_ahead *a, unsigned timeout_ms, struct stn_job **job,
                   struct sterna_error *err) {
    *job = NULL;
    while (a->n < a->most) {
        struct stn_job *read;
        int rc = stn_jobs_result(a->jobs, a->n > 0 ? 0 : timeout_ms, &read, err);
        if (rc < 0 || (rc != STERNA_OK && a->n == 0)) return rc;
        if (rc != STERNA_OK) break;
        hold(a, read);
    }
    *job = stn_job_pop(&a->held);
    a->n--;
    return STERNA_OK;
}
