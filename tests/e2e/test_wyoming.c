/* The Wyoming protocol at its sockets: what Home Assistant asks, and what nobody should. */
#include "test.h"

#include <arpa/inet.h>
#include <jansson.h>
#include <math.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/str.h"
#include "server/wyoming.h"

enum { N_PLACES = 3 };

static utter *u;
static struct jobs *jobs;
static struct wyoming *server;

static int setup(void **state) {
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    utter_options options = utter_options_default();
    options.model = "built-in";
    options.device = "cpu";
    options.n_streams = N_PLACES + 1;
    if (utter_open(&options, &u) != UTTER_OK) {
        print_error("%s\n", utter_error_message());
        return 1;
    }
    return 0;
}

static int teardown(void **state) {
    (void)state;
    utter_close(u);
    return 0;
}

static atomic_int n_done[2];  // texts that were spoken; that were not

static void count(void *user, status s) { (void)user, atomic_fetch_add(&n_done[s != UTTER_OK], 1); }

static void start_with(int n_threads, struct wyoming_options o) {
    const struct jobs_options queue = {.n_threads = n_threads,
                                       .n_places = n_threads + 1,
                                       .n_open = 20,
                                       .n_queue = 20,
                                       .buffer_bytes = 1 << 20,
                                       .buffers_bytes = 1 << 24};
    o.address = "127.0.0.1:0";
    o.done = count;
    atomic_store(&n_done[0], 0);
    atomic_store(&n_done[1], 0);
    assert_ok(jobs_new(&queue, &jobs));
    assert_ok(jobs_serve(jobs, u));
    assert_ok(wyoming_start(&o, u, jobs, &server));
}

static void start(struct wyoming_options o) { start_with(N_PLACES, o); }

static void stop(void) {
    jobs_stop(jobs, true);
    wyoming_stop(server);
    jobs_free(jobs);
    server = NULL;
    jobs = NULL;
}

// ---- a client ----

struct peer {
    int fd;
    unsigned char *in;  // [n] received, not yet looked at
    size_t n;
};

static struct peer call(void) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)wyoming_port(server))};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    struct peer p = {.fd = socket(AF_INET, SOCK_STREAM, 0)};
    if (p.fd < 0 || connect(p.fd, (struct sockaddr *)&a, sizeof a) != 0) fail_msg("cannot connect");
    return p;
}

static void hang_up(struct peer *p) {
    close(p->fd);
    free(p->in);
    *p = (struct peer){.fd = -1};
}

static void send_bytes(struct peer *p, const void *bytes, size_t n) {
    const char *at = bytes;
    while (n > 0) {  // a server that has closed is found out when its answer is read
        ssize_t sent = send(p->fd, at, n, MSG_NOSIGNAL);
        if (sent <= 0) return;
        at += sent;
        n -= (size_t)sent;
    }
}

static void say(struct peer *p, const char *line) {
    send_bytes(p, line, strlen(line));
    send_bytes(p, "\n", 1);
}

// Receives some more; false: the server has ended. A server that says nothing for a minute has failed.
static bool more(struct peer *p) {
    struct pollfd w = {.fd = p->fd, .events = POLLIN};
    if (poll(&w, 1, 60000) != 1) fail_msg("the server says nothing");
    p->in = realloc(p->in, p->n + 65536);
    assert_non_null(p->in);
    ssize_t n = recv(p->fd, p->in + p->n, 65536, 0);
    if (n <= 0) return false;
    p->n += (size_t)n;
    return true;
}

static void drop(struct peer *p, size_t n) {
    memmove(p->in, p->in + n, p->n - n);
    p->n -= n;
}

struct event {
    json_t *header, *data;
    const char *type;  // NULL: the connection has ended
    unsigned char *payload;
    size_t n_payload;
};

static void event_free(struct event *e) {
    json_decref(e->header);
    json_decref(e->data);
    free(e->payload);
    *e = (struct event){0};
}

static struct event hear_any(struct peer *p) {
    struct event e = {0};
    unsigned char *end;
    while (!(end = p->n ? memchr(p->in, '\n', p->n) : NULL))
        if (!more(p)) return e;
    size_t len = (size_t)(end - p->in);
    e.header = json_loadb((char *)p->in, len, 0, NULL);
    assert_non_null(e.header);
    drop(p, len + 1);
    size_t n_data = (size_t)json_integer_value(json_object_get(e.header, "data_length"));
    e.n_payload = (size_t)json_integer_value(json_object_get(e.header, "payload_length"));
    while (p->n < n_data + e.n_payload) assert_true(more(p));
    e.data = n_data ? json_loadb((char *)p->in, n_data, 0, NULL) : json_incref(json_object_get(e.header, "data"));
    assert_true(n_data == 0 || e.data);
    drop(p, n_data);
    if (e.n_payload) {
        e.payload = malloc(e.n_payload);
        assert_non_null(e.payload);
        memcpy(e.payload, p->in, e.n_payload);
        drop(p, e.n_payload);
    }
    e.type = json_string_value(json_object_get(e.header, "type"));
    assert_non_null(e.type);
    return e;
}

// Pings, which only who has closed his side gets, are passed over.
static struct event hear(struct peer *p) {
    struct event e = hear_any(p);
    while (e.type && strcmp(e.type, "ping") == 0) {
        event_free(&e);
        e = hear_any(p);
    }
    return e;
}

// Hears an event that must be of that type.
static void expect(struct peer *p, const char *type) {
    struct event e = hear(p);
    if (!e.type || strcmp(e.type, type) != 0)
        fail_msg("%s came, %s expected: %s", e.type ? e.type : "the end", type,
                 e.type ? json_string_value(json_object_get(e.data, "text")) : "");
    event_free(&e);
}

// An error whose text has `what` in it, and the end of the connection.
static void expect_error(struct peer *p, const char *what) {
    struct event e = hear(p);
    while (e.type && strncmp(e.type, "audio-", 6) == 0) {  // it may have begun
        event_free(&e);
        e = hear(p);
    }
    if (!e.type || strcmp(e.type, "error") != 0)
        fail_msg("%s came, an error expected (%s)", e.type ? e.type : "the end", what);
    const char *text = json_string_value(json_object_get(e.data, "text"));
    assert_non_null(text);
    assert_non_null(json_string_value(json_object_get(e.data, "code")));
    if (!strstr(text, what)) fail_msg("it said \"%s\", not \"%s\"", text, what);
    event_free(&e);
    e = hear(p);
    assert_null(e.type);
}

struct heard {
    size_t n_samples, n_chunks;
    double power;
};

// From audio-start to audio-stop.
static struct heard listen_to_end(struct peer *p) {
    struct heard h = {0};
    expect(p, "audio-start");
    for (;;) {
        struct event e = hear(p);
        assert_non_null(e.type);
        if (strcmp(e.type, "audio-stop") == 0) {
            event_free(&e);
            break;
        }
        assert_string_equal(e.type, "audio-chunk");
        assert_int_equal(json_integer_value(json_object_get(e.data, "rate")), 24000);
        assert_int_equal(json_integer_value(json_object_get(e.data, "width")), 2);
        assert_int_equal(json_integer_value(json_object_get(e.data, "channels")), 1);
        assert_true(e.n_payload > 0 && e.n_payload % 2 == 0);
        for (size_t i = 0; i < e.n_payload; i += 2)
            h.power += pow((int16_t)(e.payload[i] | e.payload[i + 1] << 8) / 32768.0, 2);
        h.n_samples += e.n_payload / 2;
        h.n_chunks++;
        event_free(&e);
    }
    h.power /= (double)h.n_samples + 1;
    return h;
}

static void assert_speech(struct heard h, double at_least_s, double at_most_s) {
    double seconds = (double)h.n_samples / 24000;
    if (seconds < at_least_s || seconds > at_most_s) fail_msg("%.2f s of sound", seconds);
    if (h.power < 1e-4 || h.power > 0.25) fail_msg("a loudness of %g", sqrt(h.power));
    assert_true(h.n_chunks > 2);
}

// No stream holds a place on the device any more.
static void await_silence(void) {
    for (int i = 0; i < 600; i++) {
        utter_state s;
        assert_ok(utter_state_get(u, &s));
        if (s.n_active == 0 && s.n_waiting == 0) return;
        usleep(50000);
    }
    fail_msg("something still speaks");
}

static const char long_text[] =
    "The old man walked slowly down the quiet street. He had been there before, many years ago, when the houses were "
    "new and the trees were small. Nobody knew him now. He stopped at the corner and looked at the river for a long "
    "time. Then he turned around and went back to the station, where the last train of the day was waiting for him.";

static void say_long_text(struct peer *p) {
    char line[1000];
    snprintf(line, sizeof line, "{\"type\":\"synthesize\",\"data\":{\"text\":\"%s %s\"}}", long_text, long_text);
    say(p, line);
}

// ---- what it is for ----

static void test_describe(void **state) {
    (void)state;
    start((struct wyoming_options){0});
    struct peer p = call();
    say(&p, "{\"type\": \"describe\"}");
    struct event e = hear(&p);
    assert_string_equal(e.type, "info");
    const json_t *tts = json_array_get(json_object_get(e.data, "tts"), 0), *voice;
    assert_true(json_is_true(json_object_get(tts, "supports_synthesize_streaming")));
    assert_true(json_is_true(json_object_get(tts, "installed")));
    bool found = false;
    size_t i;
    json_array_foreach(json_object_get(tts, "voices"), i, voice) {
        const char *language = json_string_value(json_array_get(json_object_get(voice, "languages"), 0));
        found |=
            strcmp(json_string_value(json_object_get(voice, "name")), "slt") == 0 && strcmp(language, "en-US") == 0;
    }
    assert_true(found);
    assert_true(json_is_array(json_object_get(e.data, "asr")));
    event_free(&e);
    hang_up(&p);
    stop();
}

static void test_synthesize(void **state) {
    (void)state;
    start((struct wyoming_options){0});
    struct peer p = call();
    say(&p, "{\"type\":\"synthesize\",\"data\":{\"text\":\"We went to the beach.\"}}");
    assert_speech(listen_to_end(&p), 0.6, 4);
    // the data behind the header, as the Python package sends it; the connection goes on
    const char data[] = "{\"text\":\"Good morning.\",\"voice\":{\"name\":\"sam\",\"speaker\":null},\"context\":null}";
    char header[200];
    snprintf(header, sizeof header,
             "{\"type\":\"synthesize\",\"version\":\"1.7.0\",\"data_length\":%zu,\"payload_length\":null}",
             strlen(data));
    say(&p, header);
    send_bytes(&p, data, strlen(data));
    assert_speech(listen_to_end(&p), 0.4, 4);
    say(&p,
        "{\"type\":\"synthesize\",\"data\":{\"text\":\"Good "
        "day.\",\"voice\":{\"language\":\"en_us\"},\"text_format\":\"text\"}}");
    assert_speech(listen_to_end(&p), 0.3, 4);
    say(&p, "{\"type\":\"ping\",\"data\":{\"text\":\"are you there\"}}");
    struct event e = hear(&p);
    assert_string_equal(e.type, "pong");
    assert_string_equal(json_string_value(json_object_get(e.data, "text")), "are you there");
    event_free(&e);
    hang_up(&p);
    stop();
}

static void test_text_without_words_is_an_empty_sound(void **state) {
    (void)state;
    start((struct wyoming_options){0});
    struct peer p = call();
    static const char *const empty[] = {"", "...", " \\n\\t ", "\xf0\x9f\x98\x80"};
    for (size_t i = 0; i < sizeof empty / sizeof *empty; i++) {
        char line[200];
        snprintf(line, sizeof line, "{\"type\":\"synthesize\",\"data\":{\"text\":\"%s\"}}", empty[i]);
        say(&p, line);
        assert_int_equal(listen_to_end(&p).n_samples, 0);
    }
    hang_up(&p);
    stop();
}

// The first sentence is heard while the text is still being written, and the whole of it is one sound.
static void test_streaming(void **state) {
    (void)state;
    start((struct wyoming_options){0});
    struct peer p = call();
    for (int round = 0; round < 2; round++) {  // a connection can be used again
        say(&p, "{\"type\":\"synthesize-start\",\"data\":{\"voice\":{\"name\":\"sam\"}}}");
        say(&p, "{\"type\":\"synthesize-chunk\",\"data\":{\"text\":\"We went to the \"}}");
        say(&p, "{\"type\":\"synthesize-chunk\",\"data\":{\"text\":\"beach. The water\"}}");
        expect(&p, "audio-start");
        expect(&p, "audio-chunk");
        say(&p, "{\"type\":\"synthesize-chunk\",\"data\":{\"text\":\" was cold.\"}}");
        say(&p, "{\"type\":\"synthesize\",\"data\":{\"text\":\"We went to the beach. The water was cold.\"}}");
        say(&p, "{\"type\":\"synthesize-stop\"}");
        size_t n = 0;
        struct event e = hear(&p);
        for (; e.type && strcmp(e.type, "audio-chunk") == 0; e = hear(&p)) {
            n += e.n_payload / 2;
            event_free(&e);
        }
        assert_string_equal(e.type, "audio-stop");
        event_free(&e);
        expect(&p, "synthesize-stopped");
        assert_in_range(n, 24000 * 13 / 10, 24000 * 6);
    }
    say(&p, "{\"type\":\"synthesize-start\"}\n{\"type\":\"synthesize-stop\"}");
    assert_int_equal(listen_to_end(&p).n_samples, 0);
    expect(&p, "synthesize-stopped");
    hang_up(&p);
    stop();
}

static void test_other_events_are_passed_over(void **state) {
    (void)state;
    start((struct wyoming_options){0});
    struct peer p = call();
    char payload[3000] = {1, '\n', '{'};
    say(&p, "{\"type\":\"audio-chunk\",\"data\":{\"rate\":16000},\"data_length\":2,\"payload_length\":3000}");
    send_bytes(&p, "{}", 2);
    send_bytes(&p, payload, sizeof payload);
    say(&p, "{\"type\":\"select-program\",\"data\":{\"name\":\"utter\"}}");
    say(&p, "{\"type\":\"ping\"}");
    expect(&p, "pong");
    hang_up(&p);
    stop();
}

static void test_a_byte_at_a_time(void **state) {
    (void)state;
    start((struct wyoming_options){0});
    struct peer p = call();
    const char text[] = "{\"type\":\"ping\",\"data_length\":12}\n{\"text\":\"x\"}{\"type\":\"ping\"}\n";
    for (size_t i = 0; i < sizeof text - 1; i++) {
        send_bytes(&p, text + i, 1);
        if (i % 8 == 0) usleep(1000);
    }
    expect(&p, "pong");
    expect(&p, "pong");
    hang_up(&p);
    stop();
}

static void test_several_at_once(void **state) {
    (void)state;
    start((struct wyoming_options){0});
    struct peer p[6];
    for (int i = 0; i < 6; i++) {
        p[i] = call();
        say(&p[i], "{\"type\":\"synthesize\",\"data\":{\"text\":\"We went to the beach.\"}}");
    }
    for (int i = 0; i < 6; i++) {
        assert_speech(listen_to_end(&p[i]), 0.6, 4);
        hang_up(&p[i]);
    }
    stop();
}

// One that sends all he has, says so, and then reads.
static void test_half_closed(void **state) {
    (void)state;
    start((struct wyoming_options){0});
    struct peer p = call();
    say(&p, "{\"type\":\"describe\"}\n{\"type\":\"synthesize\",\"data\":{\"text\":\"We went to the beach.\"}}");
    shutdown(p.fd, SHUT_WR);
    expect(&p, "info");
    assert_speech(listen_to_end(&p), 0.6, 4);
    assert_null(hear(&p).type);
    hang_up(&p);
    stop();
}

// ---- what goes wrong ----

static void test_errors(void **state) {
    (void)state;
    start((struct wyoming_options){.characters = 60});
    static const struct {
        const char *line, *what;
    } cases[] = {
        {"{\"type\":\"synthesize\",\"data\":{\"text\":\"Hello.\",\"voice\":{\"name\":\"slr\"}}}", "slr"},
        {"{\"type\":\"synthesize\",\"data\":{\"text\":\"Hello.\",\"voice\":{\"language\":\"xx\"}}}", "no voice speaks"},
        {"{\"type\":\"synthesize\",\"data\":{\"text\":\"<b>\",\"text_format\":\"ssml\"}}", "text_format"},
        {"{\"type\":\"synthesize\",\"data\":{\"text\":5}}", "\"text\" is missing"},
        {"{\"type\":\"synthesize\"}", "\"text\" is missing"},
        {"{\"type\":\"synthesize\",\"data\":7}", "\"text\" is missing"},
        {"{\"type\":\"synthesize-chunk\",\"data\":{\"text\":\"Hello.\"}}", "without synthesize-start"},
        {"{\"type\":\"synthesize-stop\"}", "without synthesize-start"},
        {"{\"type\":\"synthesize\",\"data\":{\"text\":"
         "\"0123456789012345678901234567890123456789012345678901234567890\"}}",
         "61 characters; 60"},
        {"{\"type\":\"synthesize-start\"}\n{\"type\":\"synthesize-chunk\",\"data\":{\"text\":\"and more and more and "
         "more\"}}\n"
         "{\"type\":\"synthesize-chunk\",\"data\":{\"text\":\" and more and more and more and more and more\"}}",
         "more than 60"},
        {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "not JSON"},
        {"", "not JSON"},
        {"[]", "must be a JSON object"},
        {"null", "not JSON"},
        {"{}", "must have a \"type\""},
        {"{\"type\":7}", "must have a \"type\""},
        {"{\"type\":\"ping\",\"data_length\":-1}", "data_length"},
        {"{\"type\":\"ping\",\"data_length\":1.5}", "data_length"},
        {"{\"type\":\"ping\",\"data_length\":\"1\"}", "data_length"},
        {"{\"type\":\"ping\",\"data_length\":9999999999}", "data_length"},
        {"{\"type\":\"ping\",\"data_length\":99999999999999999999}", "not JSON"},
        {"{\"type\":\"ping\",\"payload_length\":2147483648}", "payload_length"},
        {"{\"type\":\"ping\",\"data_length\":4}\n{{{{", "not JSON"},
        {"{\"type\":\"ping\",\"data_length\":4}\n[[]]", "must be a JSON object"},
        {"{\"type\":\"ping\xff\"}", "not JSON"},
        {"{\"type\":\"synthesize\",\"data\":{\"text\":\"a\\u0000b\"}}", "not JSON"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct peer p = call();
        say(&p, cases[i].line);
        expect_error(&p, cases[i].what);
        hang_up(&p);
    }
    stop();
}

static void test_endless_lines(void **state) {
    (void)state;
    start((struct wyoming_options){0});
    char *many = malloc(200000);
    assert_non_null(many);
    static const char fill[] = {'x', '[', '{', ' ', 0};
    for (size_t i = 0; i < sizeof fill; i++) {
        struct peer p = call();
        memset(many, fill[i], 200000);
        send_bytes(&p, many, 200000);
        expect_error(&p, "a line of more than");
        hang_up(&p);
    }
    // deep, and short enough
    struct peer p = call();
    memset(many, '[', 60000);
    many[60000] = '\n';
    send_bytes(&p, many, 60001);
    expect_error(&p, "not JSON");
    hang_up(&p);
    free(many);
    stop();
}

static void test_connection_ends_anywhere(void **state) {
    (void)state;
    start((struct wyoming_options){0});
    const char whole[] = "{\"type\":\"synthesize\",\"data_length\":16,\"payload_length\":4}\n{\"text\": \"Yes.\"}abcd";
    for (size_t n = 0; n < sizeof whole - 1; n += 3) {
        struct peer p = call();
        send_bytes(&p, whole, n);
        shutdown(p.fd, SHUT_WR);
        struct event e = hear(&p);
        assert_true(n == 0 ? !e.type : e.type && strcmp(e.type, "error") == 0);
        event_free(&e);
        hang_up(&p);
    }
    await_silence();
    stop();
}

static void test_random_bytes(void **state) {
    (void)state;
    start((struct wyoming_options){.characters = 20});
    static const char *const seeds[] = {
        "{\"type\":\"ping\",\"data_length\":12}\n{\"text\":\"x\"}",
        "{\"type\":\"synthesize\",\"data\":{\"text\":\"Yes.\",\"voice\":{\"name\":\"sam\"}}}\n",
        "{\"type\":\"synthesize-start\"}\n{\"type\":\"synthesize-chunk\",\"data\":{\"text\":\"No.\"}}\n",
        "{\"type\":\"audio-chunk\",\"payload_length\":4}\nabcd{\"type\":\"describe\"}\n",
    };
    uint32_t random = 12345;
    for (int i = 0; i < 200; i++) {
        char bytes[256];
        size_t n = (size_t)snprintf(bytes, sizeof bytes, "%s", seeds[i % 4]);
        for (int k = 0; k < 1 + i % 3; k++) {
            random = random * 1664525 + 1013904223;
            bytes[(random >> 8) % n] = i % 2 ? (char)(random >> 24) : "{}[]\":,0\n9"[(random >> 24) % 10];
        }
        struct peer p = call();
        send_bytes(&p, bytes, n);
        shutdown(p.fd, SHUT_WR);
        while (more(&p)) p.n = 0;  // whatever it says, it ends
        hang_up(&p);
    }
    struct peer p = call();
    say(&p, "{\"type\":\"ping\"}");
    expect(&p, "pong");
    hang_up(&p);
    stop();
}

static void test_too_many_connections(void **state) {
    (void)state;
    start((struct wyoming_options){.connections = 2});
    struct peer a = call(), b = call();
    say(&a, "{\"type\":\"ping\"}");
    say(&b, "{\"type\":\"ping\"}");
    expect(&a, "pong");
    expect(&b, "pong");
    struct peer c = call();
    expect_error(&c, "too many connections");
    hang_up(&c);
    hang_up(&a);
    for (int i = 0;; i++) {  // the place is free again, some time after
        c = call();
        say(&c, "{\"type\":\"ping\"}");
        struct event e = hear(&c);
        bool taken = e.type && strcmp(e.type, "pong") == 0;
        event_free(&e);
        hang_up(&c);
        if (taken) break;
        assert_true(i < 200);
        usleep(20000);
    }
    hang_up(&b);
    stop();
}

static void test_silence_ends_a_connection(void **state) {
    (void)state;
    start((struct wyoming_options){.idle_s = 1});
    struct peer nothing = call(), half = call();
    send_bytes(&half, "{\"type\":", 8);
    expect_error(&nothing, "too long");
    expect_error(&half, "too long");
    hang_up(&nothing);
    hang_up(&half);
    stop();
}

// Who hangs up, and who stops reading, no longer has a place on the device; nobody else is harmed.
static void test_gone_while_spoken_to(void **state) {
    (void)state;
    start((struct wyoming_options){0});
    struct peer p = call();
    say_long_text(&p);
    expect(&p, "audio-start");
    expect(&p, "audio-chunk");
    hang_up(&p);
    await_silence();
    p = call();
    say(&p, "{\"type\":\"synthesize\",\"data\":{\"text\":\"We went to the beach.\"}}");
    assert_speech(listen_to_end(&p), 0.6, 4);
    hang_up(&p);
    stop();
}

static int n_queued(void) {
    struct jobs_counts counts;
    jobs_count(jobs, &counts);
    return counts.n_queued;
}

// Before any sound of his was made there is nothing to send that would be refused; it is noticed all the same.
static void test_gone_before_he_is_spoken_to(void **state) {
    (void)state;
    start_with(1, (struct wyoming_options){0});
    struct peer first = call(), gone[3];
    say_long_text(&first);
    expect(&first, "audio-start");
    expect(&first, "audio-chunk");
    for (int i = 0; i < 3; i++) {
        gone[i] = call();
        say_long_text(&gone[i]);
        expect(&gone[i], "audio-start");
    }
    assert_int_equal(n_queued(), 3);
    shutdown(gone[2].fd, SHUT_WR);  // this one goes on listening
    struct linger now = {.l_onoff = 1};
    setsockopt(gone[1].fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    hang_up(&gone[0]);
    hang_up(&gone[1]);
    int64_t since = clock_ns();
    while (n_queued() > 1) {
        if (clock_ns() - since > (int64_t)60 * 1000000000) fail_msg("who is gone still waits");
        usleep(1000);
    }
    print_message("two gone: their places in the queue are free after %.0f ms\n", (double)(clock_ns() - since) * 1e-6);
    struct jobs_counts counts;
    jobs_count(jobs, &counts);
    assert_int_equal(counts.n_running, 1);
    hang_up(&first);
    expect(&gone[2], "audio-chunk");
    hang_up(&gone[2]);
    await_silence();
    stop();
}

static void test_one_that_does_not_read(void **state) {
    (void)state;
    start((struct wyoming_options){.idle_s = 1});
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)wyoming_port(server))};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    struct peer p = {.fd = socket(AF_INET, SOCK_STREAM, 0)};
    setsockopt(p.fd, SOL_SOCKET, SO_RCVBUF, &(int){4096}, sizeof(int));
    assert_int_equal(connect(p.fd, (struct sockaddr *)&a, sizeof a), 0);
    say_long_text(&p);
    expect(&p, "audio-start");
    expect(&p, "audio-chunk");
    await_silence();
    size_t n = 0;
    while (more(&p)) n += p.n, p.n = 0;
    if (n > 20 * 48000) fail_msg("all of it came, %zu bytes", n);
    hang_up(&p);
    stop();
}

static void test_stop_lets_end_what_is_spoken(void **state) {
    (void)state;
    start((struct wyoming_options){0});
    struct peer p = call(), idle = call();
    say(&idle, "{\"type\":\"ping\"}");
    expect(&idle, "pong");
    say(&p, "{\"type\":\"synthesize\",\"data\":{\"text\":\"We went to the beach.\"}}");
    expect(&p, "audio-start");
    jobs_stop(jobs, false);
    wyoming_drain(server);
    size_t n = 0;
    struct event e = hear(&p);
    for (; e.type && strcmp(e.type, "audio-chunk") == 0; e = hear(&p)) {
        n += e.n_payload / 2;
        event_free(&e);
    }
    assert_non_null(e.type);
    assert_string_equal(e.type, "audio-stop");
    assert_in_range(n, 24000 * 6 / 10, 24000 * 4);
    event_free(&e);
    assert_null(hear(&p).type);
    assert_null(hear(&idle).type);
    assert_int_equal(wyoming_n_texts(server), 0);
    assert_int_equal(atomic_load(&n_done[0]), 1);
    hang_up(&p);
    hang_up(&idle);
    stop();
}

static void test_stop_at_once(void **state) {
    (void)state;
    start((struct wyoming_options){0});
    struct peer p = call();
    say_long_text(&p);
    expect(&p, "audio-start");
    stop();
    await_silence();
    while (more(&p)) p.n = 0;
    hang_up(&p);
    wyoming_stop(NULL);
}

static void test_addresses(void **state) {
    (void)state;
    static const struct {
        const char *address;
        status s;
        const char *what;
    } bad[] = {
        {"127.0.0.1:", UTTER_INVALID, "HOST:PORT"},     {"127.0.0.1:70000", UTTER_INVALID, "HOST:PORT"},
        {"127.0.0.1:x", UTTER_INVALID, "HOST:PORT"},    {"[::1", UTTER_INVALID, "HOST:PORT"},
        {"[::1]x", UTTER_INVALID, "HOST:PORT"},         {"no host:0", UTTER_INVALID, "cannot listen"},
        {"0.0.0.0:0", UTTER_INVALID, "--allow-anyone"}, {"[::]:0", UTTER_INVALID, "--allow-anyone"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct wyoming_options o = {.address = bad[i].address};
        server = (struct wyoming *)u;
        status s = wyoming_start(&o, u, jobs, &server);
        if (s == UTTER_IO && bad[i].address[0] == '[') continue;  // a machine without IPv6
        if (s != bad[i].s || server || !strstr(fail_message(), bad[i].what))
            fail_msg("%s: %s %s", bad[i].address, status_name(s), fail_message());
    }
    struct wyoming_options o = {.address = "0.0.0.0:0", .allow_anyone = true};
    assert_ok(wyoming_start(&o, u, jobs, &server));
    struct wyoming *second;
    char same[32];
    snprintf(same, sizeof same, "127.0.0.1:%d", wyoming_port(server));
    o.address = same;
    assert_int_equal(wyoming_start(&o, u, jobs, &second), UTTER_IO);
    assert_null(second);
    wyoming_stop(server);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_describe),
        cmocka_unit_test(test_synthesize),
        cmocka_unit_test(test_text_without_words_is_an_empty_sound),
        cmocka_unit_test(test_streaming),
        cmocka_unit_test(test_other_events_are_passed_over),
        cmocka_unit_test(test_a_byte_at_a_time),
        cmocka_unit_test(test_several_at_once),
        cmocka_unit_test(test_half_closed),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_endless_lines),
        cmocka_unit_test(test_connection_ends_anywhere),
        cmocka_unit_test(test_random_bytes),
        cmocka_unit_test(test_too_many_connections),
        cmocka_unit_test(test_silence_ends_a_connection),
        cmocka_unit_test(test_gone_while_spoken_to),
        cmocka_unit_test(test_gone_before_he_is_spoken_to),
        cmocka_unit_test(test_one_that_does_not_read),
        cmocka_unit_test(test_stop_lets_end_what_is_spoken),
        cmocka_unit_test(test_stop_at_once),
        cmocka_unit_test(test_addresses),
    };
    return cmocka_run_group_tests_name("wyoming", tests, setup, teardown);
}
