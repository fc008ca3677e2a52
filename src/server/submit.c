/* A request and what it waits for. */
#include "base/clock.h"
#include "server/parts.h"

static void sleep_connection(void *user) { MHD_suspend_connection(((struct request *)user)->connection); }
static void wake_connection(void *user) { MHD_resume_connection(((struct request *)user)->connection); }

struct job_reader request_reader(struct request *r) {
    return (struct job_reader){.wait = sleep_connection, .wake = wake_connection, .user = r};
}

enum MHD_Result submit(struct request *r, struct order *o) {
    struct server *s = r->server;
    struct job_reader reader = request_reader(r);
    o->deadline = r->begun + (int64_t)s->limit.deadline_s * 1000000000;
    status result = jobs_submit(s->jobs, o, r->caller, &reader, &r->job);
    if (result == UTTER_LIMIT) {
        struct jobs_counts counts;
        jobs_count(s->jobs, &counts);
        r->retry_s = counts.next_s;
        return reply_error(r, 429, fail_message(), NULL, "queue_full");
    }
    if (result != UTTER_OK) return reply_failure(r, result, NULL);
    peer_deadline(r->peer, o->deadline);
    peer_watch(r->peer, r->job);
    return r->route->resume(r);
}
