/* How the server is: GET /health, /ready, /metrics; the page; and what is not there. */
#include <string.h>

#include "server/page.h"
#include "server/parts.h"

enum MHD_Result health_begin(struct request *r) {
    return reply_json(r, 200, json_pack("{s:s, s:s}", "status", "ok", "version", UTTER_VERSION));
}

enum MHD_Result ready_begin(struct request *r) {
    utter *u = server_engine(r->server);
    r->retry_s = 1;
    if (atomic_load(&r->server->draining)) return reply_error(r, 503, "the server is stopping", NULL, "stopping");
    if (!u) return reply_error(r, 503, "the model is being loaded", NULL, "loading");
    utter_state state;
    utter_state_get(u, &state);
    return reply_json(r, 200,
                      json_pack("{s:s, s:s, s:s, s:b}", "status", "ready", "engine", utter_describe(u), "device",
                                state.device, "gpu_lost", state.gpu_lost));
}

enum MHD_Result metrics_begin(struct request *r) {
    struct server *s = r->server;
    const char *names[METRICS_ROUTES];
    int n;
    const struct route *routes = server_routes(&n);
    for (int i = 0; i < n; i++) names[i] = routes[i].name;
    names[n++] = "wyoming";
    struct metrics_now now = {.n_connections = watch_count(s->watch), .n_places = s->options.n_places};
    jobs_count(s->jobs, &now.jobs);
    utter *u = server_engine(s);
    now.ready = now.has_engine = u != NULL;
    if (u) utter_state_get(u, &now.engine);
    struct str body = {0};
    metrics_write(&s->metrics, &now, names, n, &body);
    return reply(r, 200, "text/plain; version=0.0.4", &body, NULL);
}

enum MHD_Result page_begin(struct request *r) {
    static const char *const headers[] = {
        "Content-Security-Policy", page_policy, "Referrer-Policy", "no-referrer", "Cache-Control", "no-cache", NULL};
    struct str body = {0};
    str_append(&body, (const char *)page_html, (size_t)(page_html_end - page_html));
    return reply(r, 200, "text/html; charset=utf-8", &body, headers);
}

enum MHD_Result unknown_begin(struct request *r) {
    int n;
    const struct route *routes = server_routes(&n);
    struct str allowed = {0};
    for (int i = 0; i < n - 1; i++) {
        size_t len = strlen(routes[i].path);
        bool is_prefix = routes[i].path[len - 1] == '*';
        if (is_prefix ? strncmp(r->path, routes[i].path, len - 1) != 0 : strcmp(r->path, routes[i].path) != 0) continue;
        str_printf(&allowed, "%s%s", allowed.len > 0 ? ", " : "", routes[i].method);
    }
    if (allowed.len == 0)
        return reply_error(r, 404, "there is nothing under this path; utter-serve(1) lists what there is", NULL,
                           "not_found");
    if (strcmp(r->method, "OPTIONS") == 0) {
        const char *headers[] = {"Allow", str_text(&allowed), NULL, NULL, NULL, NULL, NULL, NULL, NULL};
        if (r->server->options.cors) {
            headers[2] = "Access-Control-Allow-Methods";
            headers[3] = str_text(&allowed);
            headers[4] = "Access-Control-Allow-Headers";
            headers[5] = "Authorization, Content-Type, X-Request-Id, traceparent";
            headers[6] = "Access-Control-Max-Age";
            headers[7] = "600";
        }
        struct str none = {0};
        enum MHD_Result result = reply(r, 204, "", &none, headers);
        str_free(&allowed);
        return result;
    }
    struct str message = {0};
    str_printf(&message, "this path takes %s", str_text(&allowed));
    enum MHD_Result result = reply_error(r, 405, str_text(&message), NULL, "method_not_allowed");
    str_free(&message);
    str_free(&allowed);
    return result;
}
