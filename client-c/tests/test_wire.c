/* The wire: what this client sends and takes, held to proto/vectors.txt over a real socket.
 *
 * test_wire LOCALE runs in that locale too, if it has a decimal comma: numbers of the wire do not follow it.
 */
#define _DEFAULT_SOURCE
#include "check.h"
#include "vectors.h"

#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static peer server;
static const char *locale_name = "C";

/* strtod in the C locale, whatever the test runs in. */
static double c_number(const char *word)
{
    double value;
    (void)setlocale(LC_NUMERIC, "C");
    value = strtod(word, NULL);
    (void)setlocale(LC_NUMERIC, locale_name);
    return value;
}

static int same_number(double found, const char *word)
{
    double wanted = c_number(word);
    return isnan(wanted) ? isnan(found) : found == wanted && signbit(found) == signbit(wanted);
}

static void complain(const vector *about, const char *what)
{
    (void)fprintf(stderr, "vector %s: %s\n", about->name, what);
    CHECK(!"a vector");
}

/* The text as the client gives it: a NUL ends it. */
static int same_text(const char *found, const bytes *wanted)
{
    return wanted->data == NULL ? *found == '\0' : strcmp(found, (const char *)wanted->data) == 0;
}

static void check_words(anomalyd_client *client, const vector *wanted)
{
    size_t length;
    const char *detail = anomalyd_detail(client, &length);
    const unsigned char *heat_map;
    if (length != wanted->detail.length || (length > 0 && memcmp(detail, wanted->detail.data, length) != 0))
        complain(wanted, "another detail");
    heat_map = anomalyd_heatmap(client, &length);
    if (length != wanted->heat_map.length || (length > 0 && memcmp(heat_map, wanted->heat_map.data, length) != 0))
        complain(wanted, "another heat map");
    if (!same_text(anomalyd_text(client), &wanted->text))
        complain(wanted, "another text");
}

/* A reply under another id is waited out, and one without any frame makes a REQ socket drop the connection. */
static int never_arrives(const vector *wanted)
{
    return strcmp(wanted->name, "bad-reply-id-of-65-bytes") == 0 || strcmp(wanted->name, "bad-reply-no-frames") == 0;
}

static void ask_for(anomalyd_client *client, const vector *wanted)
{
    char path[128];
    anomalyd_verdict verdict;
    anomalyd_status status;
    long long step = strcmp(wanted->step, "-") == 0 || wanted->step[0] == '\0' ? 4 : strtoll(wanted->step, NULL, 10);

    (void)snprintf(path, sizeof path, "/vector/%s", wanted->name);
    status = anomalyd_classify(client, (int64_t)step, path, &verdict);
    if (strcmp(wanted->expect, "bad") == 0) {
        if (never_arrives(wanted) ? status != ANOMALYD_TIMEOUT && status != ANOMALYD_UNAVAILABLE
                                  : status != ANOMALYD_BAD_REPLY)
            complain(wanted, "not refused");
        if (verdict.label != ANOMALYD_UNKNOWN || !isnan(verdict.score) || verdict.acted != 1)
            complain(wanted, "a verdict was taken from a bad reply");
        return;
    }
    if ((int)status != atoi(wanted->status) || verdict.status != status)
        complain(wanted, "another status");
    if (strcmp(anomalyd_label_name(verdict.label), wanted->verdict) != 0)
        complain(wanted, "another label");
    if (!same_number(verdict.score, wanted->score) || !same_number(verdict.threshold, wanted->threshold))
        complain(wanted, "another score or threshold");
    if (verdict.step != (int64_t)step)
        complain(wanted, "another step");
    if (!same_text(verdict.instance, &wanted->instance))
        complain(wanted, "another instance");
    check_words(client, wanted);
}

/* A reply without a step answers a PING; the server is told before which vector to use. */
static void ping_for(anomalyd_client *client, const vector *wanted)
{
    char path[128];
    anomalyd_verdict verdict;
    (void)snprintf(path, sizeof path, "/arm/%s", wanted->name);
    CHECK_STATUS(anomalyd_classify(client, 1, path, &verdict), ANOMALYD_OK);
    CHECK_STATUS(anomalyd_ping(client), atoi(wanted->status));
    check_words(client, wanted);
}

static void every_reply_vector_is_understood(void)
{
    anomalyd_client *client = open_at(server.endpoint, 10000, ANOMALYD_FAIL_CLOSED);
    anomalyd_client *impatient = open_at(server.endpoint, 300, ANOMALYD_FAIL_CLOSED);
    vector wanted;
    int n_good = 0, n_bad = 0;

    vectors_rewind();
    while (vectors_next(&wanted)) {
        int ours = strcmp(wanted.message, "reply") == 0;
        if (ours && strcmp(wanted.name, "reply-without-request-id") == 0) {
            anomalyd_verdict verdict; /* it could be for any request, so it is for none */
            CHECK_STATUS(anomalyd_classify(impatient, 1, "/vector/reply-without-request-id", &verdict),
                         ANOMALYD_TIMEOUT);
        } else if (ours && strcmp(wanted.step, "-") == 0 && strcmp(wanted.expect, "ok") == 0)
            ping_for(client, &wanted);
        else if (ours)
            ask_for(never_arrives(&wanted) ? impatient : client, &wanted);
        n_good += ours && strcmp(wanted.expect, "ok") == 0;
        n_bad += ours && strcmp(wanted.expect, "bad") == 0;
        vectors_free(&wanted);
    }
    (void)fprintf(stderr, "       %d replies understood, %d refused\n", n_good, n_bad);
    CHECK(n_good >= 40 && n_bad >= 40);
    anomalyd_close(client);
    anomalyd_close(impatient);
}

/* Sets the client's options as the request's; 0 if this client cannot make such a request. */
static int options_for(const vector *wanted, anomalyd_options *options)
{
    size_t idx;
    anomalyd_options_init(options);
    options->endpoint = server.endpoint;
    options->timeout_ms = (int32_t)atol(wanted->deadline_ms);
    options->run = (const char *)wanted->run.data;
    for (idx = 0; idx < wanted->n_options; ++idx) {
        const char *option = (const char *)wanted->options[idx].data;
        if (strncmp(option, "model=", 6) == 0 && idx == 0)
            options->model = option + 6;
        else if (strcmp(option, "want=heatmap") == 0 && !options->want_heatmap)
            options->want_heatmap = 1;
        else
            return 0;
    }
    return strcmp(wanted->expect, "ok") == 0 && strcmp(wanted->roundtrip, "yes") == 0 && options->timeout_ms > 0 &&
           wanted->n_options <= (strcmp(wanted->kind, "path") == 0 ? 2 : 0);
}

/* Sends the request; 0 if there is no call for it. */
static int send_request(anomalyd_client *client, const vector *wanted, long long step, int *sent_ok)
{
    anomalyd_verdict verdict;
    const char *subject = (const char *)wanted->subject.data;
    if (strcmp(wanted->command, "CLASSIFY") == 0 && strcmp(wanted->kind, "path") == 0)
        *sent_ok = anomalyd_classify(client, (int64_t)step, subject, &verdict) == ANOMALYD_OK;
    else if (strcmp(wanted->command, "REWIND") == 0)
        *sent_ok = anomalyd_rewind(client, (int64_t)step) == ANOMALYD_OK;
    else if (strcmp(wanted->command, "LABEL") == 0)
        *sent_ok =
            anomalyd_label_step(client, (int64_t)step,
                                strcmp(subject, "normal") == 0 ? ANOMALYD_NORMAL : ANOMALYD_ANOMALOUS) == ANOMALYD_OK;
    else if (strcmp(wanted->command, "PING") == 0)
        *sent_ok = anomalyd_ping(client) == ANOMALYD_OK;
    else
        return 0;
    return 1;
}

/* Frame `idx` of the request as the server saw it; returns its length, -1 if there is none. */
static long seen_frame(const char *detail, size_t idx, char *frame, size_t size)
{
    size_t length = 0;
    const char *at = strchr(detail, '[');
    while (at != NULL && idx-- > 0)
        at = strchr(at + 1, ',');
    if (at == NULL)
        return -1;
    for (at += 2; at[0] != '"' && length + 1 < size; at += 2) {
        unsigned byte;
        if (sscanf(at, "%2x", &byte) != 1)
            return -1;
        frame[length++] = (char)byte;
    }
    frame[length] = '\0';
    return (long)length;
}

static void compare_request(const char *detail, const vector *wanted, long most_ms)
{
    static char frame[8192];
    size_t idx;
    for (idx = 0; idx < wanted->n_frames; ++idx) {
        const bytes *of = &wanted->frames[idx];
        long length = seen_frame(detail, idx, frame, sizeof frame);
        if (idx == 2) /* the id is the client's own */
            CHECK(length > 0 && length <= 64);
        else if (idx == 3) /* what is left of the time-out when it is sent */
            CHECK(length > 0 && atol(frame) > 0 && atol(frame) <= most_ms && atol(frame) >= most_ms - 2000);
        else if (length != (long)of->length || memcmp(frame, of->data, of->length) != 0)
            complain(wanted, "another request was sent");
    }
    CHECK(seen_frame(detail, wanted->n_frames, frame, sizeof frame) == -1);
}

static void every_request_vector_is_sent_as_it_stands(void)
{
    vector wanted;
    int n_compared = 0;

    vectors_rewind();
    while (vectors_next(&wanted)) {
        anomalyd_options options;
        anomalyd_client *client;
        long long step = strtoll(wanted.step, NULL, 10);
        int sent_ok = 0;
        if (strcmp(wanted.message, "request") == 0 && options_for(&wanted, &options)) {
            CHECK_STATUS(anomalyd_open(&options, &client), ANOMALYD_OK);
            if (client != NULL && send_request(client, &wanted, step, &sent_ok)) {
                if (!sent_ok)
                    complain(&wanted, anomalyd_last_error(client));
                compare_request(anomalyd_detail(client, NULL), &wanted, (long)options.timeout_ms);
                ++n_compared;
            }
            anomalyd_close(client);
        }
        vectors_free(&wanted);
    }
    (void)fprintf(stderr, "       %d requests compared\n", n_compared);
    CHECK(n_compared >= 15);
}

static void relative_path_is_completed(void)
{
    static char frame[8192], wanted[8192];
    anomalyd_client *client = open_at(server.endpoint, 10000, ANOMALYD_FAIL_OPEN);
    anomalyd_verdict verdict;
    CHECK(realpath(".", wanted) != NULL);
    (void)strcat(wanted, "/entropy 0733.png");
    CHECK_STATUS(anomalyd_classify(client, 1, "entropy 0733.png", &verdict), ANOMALYD_OK);
    CHECK(seen_frame(anomalyd_detail(client, NULL), 7, frame, sizeof frame) > 0);
    CHECK_TEXT(frame, wanted);
    anomalyd_close(client);
}

static void request_ids_are_never_used_twice(void)
{
    anomalyd_client *clients[2];
    char ids[8][80];
    int idx, other;
    anomalyd_verdict verdict;
    clients[0] = open_at(server.endpoint, 10000, ANOMALYD_FAIL_OPEN);
    clients[1] = open_at(server.endpoint, 10000, ANOMALYD_FAIL_OPEN);
    for (idx = 0; idx < 8; ++idx) {
        CHECK_STATUS(anomalyd_classify(clients[idx % 2], 1, "/echo", &verdict), ANOMALYD_OK);
        CHECK(seen_frame(anomalyd_detail(clients[idx % 2], NULL), 2, ids[idx], sizeof ids[idx]) > 0);
        for (other = 0; other < idx; ++other)
            CHECK(strcmp(ids[idx], ids[other]) != 0);
    }
    anomalyd_close(clients[0]);
    anomalyd_close(clients[1]);
}

int main(int argc, char **argv)
{
    const char *const arguments[] = {"--vectors", VECTORS, NULL};
    peer_start(&server, arguments);
    if (argc > 1) {
        locale_name = argv[1];
        if (setlocale(LC_ALL, locale_name) == NULL || localeconv()->decimal_point[0] != ',') {
            (void)fprintf(stderr, "SKIPPED: there is no locale %s with a decimal comma here\n", locale_name);
            peer_kill(&server);
            return 77;
        }
        CHECK(strtod("1,5", NULL) == 1.5);
    }
    RUN(every_reply_vector_is_understood);
    RUN(every_request_vector_is_sent_as_it_stands);
    RUN(relative_path_is_completed);
    RUN(request_ids_are_never_used_twice);
    peer_kill(&server);
    return check_result();
}
