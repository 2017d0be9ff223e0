/* A daemon that is away, slow or wrong: the documented status, within the time-out. */
#define _DEFAULT_SOURCE
#include "check.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

static peer server;

static void start(const char *const *arguments)
{
    peer_start(&server, arguments);
}

static void start_at(const char *endpoint, const char *instance)
{
    const char *const arguments[] = {"--bind", endpoint, "--instance", instance, "--log", check_path("log"), NULL};
    start(arguments);
}

/* A client's endpoint for the server of this behaviour. */
static const char *ipc(void)
{
    static char endpoint[128];
    (void)snprintf(endpoint, sizeof endpoint, "ipc://%s", check_path("s"));
    return endpoint;
}

/* Asks and checks status, duration, and that nothing is said of the image. */
static void expect(anomalyd_client *client, const char *path, anomalyd_status status, double least_ms, double most_ms)
{
    anomalyd_verdict verdict;
    double took_ms = most_ms + 1;
    int attempt;
    for (attempt = 0; attempt < 3 && took_ms > most_ms; ++attempt) {
        double begin = check_now_ms();
        CHECK_STATUS(anomalyd_classify(client, 12, path, &verdict), status);
        took_ms = check_now_ms() - begin;
        CHECK_STATUS(verdict.status, status);
        CHECK(verdict.label == ANOMALYD_UNKNOWN && verdict.step == 12);
        CHECK(isnan(verdict.score) && isnan(verdict.threshold));
        CHECK(anomalyd_last_error(client)[0] != '\0');
    }
    if (took_ms < least_ms || took_ms > most_ms)
        (void)fprintf(stderr, "%s took %.1f ms, expected %.0f to %.0f\n", path, took_ms, least_ms, most_ms);
    CHECK(took_ms >= least_ms && took_ms <= most_ms);
}

static void expect_ok(anomalyd_client *client, const char *path)
{
    anomalyd_verdict verdict;
    CHECK_STATUS(anomalyd_classify(client, 12, path, &verdict), ANOMALYD_OK);
    CHECK(verdict.label == ANOMALYD_NORMAL && verdict.step == 12 && verdict.score == 0.25 && verdict.threshold == 0.5);
    CHECK_TEXT(anomalyd_last_error(client), "");
}

static void no_daemon_is_unavailable_within_the_time_out(void)
{
    anomalyd_client *client = open_at(ipc(), 400, ANOMALYD_FAIL_OPEN);
    expect(client, "/ok", ANOMALYD_UNAVAILABLE, 0, 400 + SLACK_MS);
    CHECK_SAYS(anomalyd_last_error(client), "no daemon answers at ipc://");
    CHECK_STATUS(anomalyd_rewind(client, 3), ANOMALYD_UNAVAILABLE);
    CHECK_STATUS(anomalyd_ping(client), ANOMALYD_UNAVAILABLE);
    anomalyd_close(client);
    client = open_at("tcp://127.0.0.1:9", 400, ANOMALYD_FAIL_OPEN);
    expect(client, "/ok", ANOMALYD_UNAVAILABLE, 0, 400 + SLACK_MS);
    anomalyd_close(client);
    client = open_at("tcp://no-such-host.invalid:9", 300, ANOMALYD_FAIL_OPEN);
    expect(client, "/ok", ANOMALYD_UNAVAILABLE, 0, 300 + SLACK_MS);
    anomalyd_close(client);
}

static void no_daemon_costs_the_connect_time_out_only(void)
{
    anomalyd_options options = ANOMALYD_OPTIONS_INIT;
    anomalyd_client *client;
    options.endpoint = ipc();
    options.timeout_ms = 20000;
    options.connect_timeout_ms = 150;
    CHECK_STATUS(anomalyd_open(&options, &client), ANOMALYD_OK);
    expect(client, "/ok", ANOMALYD_UNAVAILABLE, 150, 150 + SLACK_MS);
    anomalyd_close(client);
}

static void daemon_that_starts_later_is_found_without_reopening(void)
{
    anomalyd_client *client = open_at(ipc(), 8000, ANOMALYD_FAIL_OPEN);
    expect(client, "/ok", ANOMALYD_UNAVAILABLE, 900, 1000 + SLACK_MS);
    start_at(ipc(), "first");
    expect_ok(client, "/ok");
    anomalyd_close(client);
    peer_kill(&server);
}

static void silent_daemon_is_a_timeout(void)
{
    anomalyd_client *client;
    start_at("tcp://127.0.0.1:*", "first");
    client = open_at(server.endpoint, 300, ANOMALYD_FAIL_OPEN);
    expect(client, "/silent", ANOMALYD_TIMEOUT, 299, 300 + SLACK_MS);
    CHECK_SAYS(anomalyd_last_error(client), "did not answer within");
    expect_ok(client, "/ok");
    expect(client, "/silent", ANOMALYD_TIMEOUT, 299, 300 + SLACK_MS);
    expect_ok(client, "/ok");
    anomalyd_close(client);
    peer_kill(&server);
}

static void late_reply_to_an_earlier_request_is_never_taken(void)
{
    anomalyd_client *client;
    anomalyd_verdict verdict;
    int round;
    start_at(ipc(), "first");
    client = open_at(ipc(), 200, ANOMALYD_FAIL_OPEN);
    for (round = 0; round < 3; ++round) {
        expect(client, "/late/250/anomalous", ANOMALYD_TIMEOUT, 199, 200 + SLACK_MS);
        CHECK_STATUS(anomalyd_classify(client, 12, "/late/150/normal", &verdict),
                     ANOMALYD_OK); /* arrives after the other */
        CHECK(verdict.label == ANOMALYD_NORMAL);
        expect_ok(client, "/twice"); /* the second of two replies is as late as one can be */
        expect_ok(client, "/ok");
    }
    anomalyd_close(client);
    peer_kill(&server);
}

static void reply_for_another_request_is_dropped_and_waiting_goes_on(void)
{
    anomalyd_client *client;
    start_at(ipc(), "first");
    client = open_at(ipc(), 600, ANOMALYD_FAIL_OPEN);
    expect_ok(client, "/foreign");
    CHECK_SAYS(anomalyd_detail(client, NULL), "\"n_seen\":2"); /* asked again under the same id */
    expect(client, "/foreign/always", ANOMALYD_TIMEOUT, 599, 600 + SLACK_MS);
    expect_ok(client, "/ok");
    anomalyd_close(client);
    peer_kill(&server);
}

static void reply_for_another_step_is_a_bad_reply(void)
{
    anomalyd_client *client;
    start_at(ipc(), "first");
    client = open_at(ipc(), 600, ANOMALYD_FAIL_OPEN);
    expect(client, "/step/13", ANOMALYD_BAD_REPLY, 0, 600);
    CHECK_SAYS(anomalyd_last_error(client), "\"13\"");
    expect(client, "/step/", ANOMALYD_BAD_REPLY, 0, 600); /* a verdict must have its step */
    expect_ok(client, "/ok");
    anomalyd_close(client);
    peer_kill(&server);
}

static void daemon_of_another_version_is_told(void)
{
    anomalyd_client *client;
    start_at(ipc(), "first");
    client = open_at(ipc(), 600, ANOMALYD_FAIL_OPEN);
    expect(client, "/version", ANOMALYD_VERSION, 0, 600);
    expect(client, "/status/409", ANOMALYD_OUT_OF_ORDER, 0, 600);
    CHECK_TEXT(anomalyd_text(client), "line one?line two");
    CHECK_SAYS(anomalyd_last_error(client), "409");
    expect(client, "/status/299", ANOMALYD_BAD_REPLY, 0, 600);
    anomalyd_close(client);
    peer_kill(&server);
}

static void words_of_any_length_do_not_spoil_a_verdict(void)
{
    anomalyd_client *client;
    size_t length;
    start_at(ipc(), "first");
    client = open_at(ipc(), 3000, ANOMALYD_FAIL_OPEN);
    expect_ok(client, "/text/5000");
    CHECK(strlen(anomalyd_text(client)) == ANOMALYD_MAX_TEXT);
    expect_ok(client, "/big/3000000");
    CHECK(strlen(anomalyd_detail(client, &length)) == 3000000 && length == 3000000);
    CHECK(anomalyd_heatmap(client, &length) != NULL && length == 3000004);
    expect_ok(client, "/ok");
    CHECK_TEXT(anomalyd_detail(client, &length), "");
    CHECK(anomalyd_heatmap(client, &length) == NULL && length == 0);
    anomalyd_close(client);
    peer_kill(&server);
}

static void killed_daemon_is_unavailable_and_its_successor_a_new_instance(void)
{
    anomalyd_client *client;
    anomalyd_verdict verdict;
    start_at(ipc(), "first");
    client = open_at(ipc(), 1500, ANOMALYD_FAIL_OPEN);
    CHECK_STATUS(anomalyd_classify(client, 1, "/ok", &verdict), ANOMALYD_OK);
    CHECK(verdict.restarted == 0);
    CHECK_TEXT(verdict.instance, "first");
    peer_kill(&server);
    expect(client, "/ok", ANOMALYD_UNAVAILABLE, 0, 1500 + SLACK_MS);
    start_at(ipc(), "second");
    CHECK_STATUS(anomalyd_ping(client), ANOMALYD_OK); /* does not use the news up */
    CHECK_STATUS(anomalyd_classify(client, 2, "/ok", &verdict), ANOMALYD_OK);
    CHECK(verdict.restarted == 1);
    CHECK_TEXT(verdict.instance, "second");
    CHECK_STATUS(anomalyd_classify(client, 3, "/ok", &verdict), ANOMALYD_OK);
    CHECK(verdict.restarted == 0);
    peer_kill(&server);
    start_at(ipc(), "third"); /* between two calls: nobody notices but by the instance */
    CHECK_STATUS(anomalyd_classify(client, 4, "/ok", &verdict), ANOMALYD_OK);
    CHECK(verdict.restarted == 1);
    anomalyd_close(client);
    peer_kill(&server);
}

static void daemon_that_dies_of_a_request_is_unavailable(void)
{
    anomalyd_client *client;
    start_at(ipc(), "first");
    client = open_at(ipc(), 700, ANOMALYD_FAIL_OPEN);
    expect(client, "/die", ANOMALYD_UNAVAILABLE, 0, 700 + SLACK_MS);
    peer_wait(&server);
    anomalyd_close(client);
}

/* The ids of the log's requests, in order; returns how many. */
static int logged_ids(char ids[][160], int most)
{
    FILE *log = fopen(check_path("log"), "r");
    static char line[20000];
    int n = 0;
    if (log == NULL)
        return 0;
    while (n < most && fgets(line, sizeof line, log) != NULL)
        n += sscanf(line, "%*s %*s %159s", ids[n]) == 1;
    (void)fclose(log);
    return n;
}

static void restart_in_the_middle_repeats_the_request_with_its_id(void)
{
    anomalyd_client *client;
    anomalyd_verdict verdict;
    char ids[4][160];
    (void)remove(check_path("log"));
    start_at(ipc(), "first");
    client = open_at(ipc(), 8000, ANOMALYD_FAIL_OPEN);
    CHECK_STATUS(anomalyd_submit(client, 5, "/late/400"), ANOMALYD_OK);
    (void)usleep(100000);
    peer_kill(&server);
    start_at(ipc(), "second");
    CHECK_STATUS(anomalyd_wait(client, &verdict), ANOMALYD_OK);
    CHECK(verdict.step == 5);
    CHECK_TEXT(verdict.instance, "second");
    CHECK(logged_ids(ids, 4) == 2);
    CHECK_TEXT(ids[1], ids[0]);
    anomalyd_close(client);
    peer_kill(&server);
}

static void stopped_daemon_is_a_timeout(void)
{
    anomalyd_client *client, *newcomer;
    double begin;
    start_at(ipc(), "first");
    client = open_at(ipc(), 300, ANOMALYD_FAIL_OPEN);
    expect_ok(client, "/ok");
    peer_signal(&server, SIGSTOP);
    expect(client, "/ok", ANOMALYD_TIMEOUT, 299, 300 + SLACK_MS);
    expect(client, "/ok", ANOMALYD_TIMEOUT, 299, 300 + SLACK_MS); /* over a connection that was never accepted */
    newcomer = open_at(ipc(), 1500, ANOMALYD_FAIL_OPEN);
    expect(newcomer, "/ok", ANOMALYD_TIMEOUT, 1499,
           1500 + SLACK_MS); /* and not unavailable after the connect time-out */
    begin = check_now_ms();
    anomalyd_close(newcomer);
    CHECK(check_now_ms() - begin < SLACK_MS);
    peer_signal(&server, SIGCONT);
    expect_ok(client, "/ok");
    CHECK_STATUS(anomalyd_submit(client, 1, "/silent"), ANOMALYD_OK);
    peer_signal(&server, SIGSTOP);
    begin = check_now_ms();
    anomalyd_close(client); /* with a request in flight to a stopped daemon */
    CHECK(check_now_ms() - begin < SLACK_MS);
    peer_kill(&server);
}

static void peer_that_is_no_daemon_is_unavailable(void)
{
    static const char *const lie[] = {"-c",
                                      "import socket,sys\n"
                                      "s=socket.create_server(('127.0.0.1',0))\n"
                                      "print('ready','tcp://127.0.0.1:%d'%s.getsockname()[1],flush=True)\n"
                                      "while True:\n"
                                      "  c,_=s.accept()\n"
                                      "  c.sendall(b'HTTP/1.0 400 Bad Request\\r\\n\\r\\n'*9)\n"
                                      "  c.close()\n",
                                      NULL};
    anomalyd_client *client;
    peer_start_python(&server, lie);
    client = open_at(server.endpoint, 500, ANOMALYD_FAIL_OPEN);
    expect(client, "/ok", ANOMALYD_UNAVAILABLE, 0, 500 + SLACK_MS);
    CHECK_SAYS(anomalyd_last_error(client), "handshake");
    anomalyd_close(client);
    peer_kill(&server);
}

static volatile sig_atomic_t n_signals;

static void on_alarm(int signal)
{
    (void)signal;
    ++n_signals;
}

static void signals_neither_shorten_nor_lengthen_a_call(void)
{
    struct sigaction action, before;
    struct itimerval every_ms = {{0, 1000}, {0, 1000}}, never = {{0, 0}, {0, 0}};
    anomalyd_client *client;
    int round;
    start_at(ipc(), "first");
    memset(&action, 0, sizeof action);
    action.sa_handler = on_alarm; /* without SA_RESTART: everything that can be interrupted is */
    (void)sigaction(SIGALRM, &action, &before);
    (void)setitimer(ITIMER_REAL, &every_ms, NULL);
    client = open_at(ipc(), 300, ANOMALYD_FAIL_OPEN);
    for (round = 0; round < 50; ++round)
        expect_ok(client, "/ok");
    expect(client, "/silent", ANOMALYD_TIMEOUT, 299, 300 + SLACK_MS);
    anomalyd_close(client);
    (void)setitimer(ITIMER_REAL, &never, NULL);
    (void)sigaction(SIGALRM, &before, NULL);
    CHECK(n_signals > 20);
    peer_kill(&server);
}

static void policy_decides_what_a_missing_verdict_means(void)
{
    anomalyd_verdict verdict;
    int policy;
    start_at(ipc(), "first");
    for (policy = ANOMALYD_FAIL_OPEN; policy <= ANOMALYD_FAIL_CLOSED; ++policy) {
        anomalyd_client *client = open_at(ipc(), 200, (anomalyd_policy)policy);
        int closed = policy == ANOMALYD_FAIL_CLOSED;
        CHECK_STATUS(anomalyd_classify(client, 1, "/ok", &verdict), ANOMALYD_OK);
        CHECK(verdict.acted == 0);
        CHECK_STATUS(anomalyd_classify(client, 1, "/anomalous", &verdict), ANOMALYD_OK);
        CHECK(verdict.acted == 1 && verdict.label == ANOMALYD_ANOMALOUS);
        CHECK_STATUS(anomalyd_classify(client, 1, "/unknown", &verdict), ANOMALYD_OK);
        CHECK(verdict.acted == 0); /* a run that warms up would else never get warm */
        CHECK_STATUS(anomalyd_classify(client, 1, "/status/429", &verdict), ANOMALYD_OVERLOADED);
        CHECK(verdict.acted == closed);
        CHECK_STATUS(anomalyd_classify(client, 1, "/silent", &verdict), ANOMALYD_TIMEOUT);
        CHECK(verdict.acted == closed);
        CHECK_STATUS(anomalyd_classify(client, 1, "/step/9", &verdict), ANOMALYD_BAD_REPLY);
        CHECK(verdict.acted == closed && verdict.label == ANOMALYD_UNKNOWN);
        CHECK_STATUS(anomalyd_classify(client, 1, "", &verdict), ANOMALYD_INVALID);
        CHECK(verdict.acted == closed);
        anomalyd_close(client);
    }
    peer_kill(&server);
}

int main(void)
{
    (void)unsetenv("ANOMALYD_ENDPOINT");
    (void)unsetenv("ANOMALYD_ENDPOINT_FILE");
    RUN(no_daemon_is_unavailable_within_the_time_out);
    RUN(no_daemon_costs_the_connect_time_out_only);
    RUN(daemon_that_starts_later_is_found_without_reopening);
    RUN(silent_daemon_is_a_timeout);
    RUN(late_reply_to_an_earlier_request_is_never_taken);
    RUN(reply_for_another_request_is_dropped_and_waiting_goes_on);
    RUN(reply_for_another_step_is_a_bad_reply);
    RUN(daemon_of_another_version_is_told);
    RUN(words_of_any_length_do_not_spoil_a_verdict);
    RUN(killed_daemon_is_unavailable_and_its_successor_a_new_instance);
    RUN(daemon_that_dies_of_a_request_is_unavailable);
    RUN(restart_in_the_middle_repeats_the_request_with_its_id);
    RUN(stopped_daemon_is_a_timeout);
    RUN(peer_that_is_no_daemon_is_unavailable);
    RUN(signals_neither_shorten_nor_lengthen_a_call);
    RUN(policy_decides_what_a_missing_verdict_means);
    return check_result();
}
