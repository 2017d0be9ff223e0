/* submit, poll and wait: the simulation computes on while the image is judged. */
#define _DEFAULT_SOURCE
#include "check.h"

#include <math.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

static peer server;

static void nothing_in_flight_is_invalid(void)
{
    anomalyd_client *client = open_at(server.endpoint, 1000, ANOMALYD_FAIL_CLOSED);
    anomalyd_verdict verdict;
    CHECK_STATUS(anomalyd_poll(client, &verdict), ANOMALYD_INVALID);
    CHECK_STATUS(verdict.status, ANOMALYD_INVALID);
    CHECK(verdict.acted == 1);
    CHECK_STATUS(anomalyd_wait(client, &verdict), ANOMALYD_INVALID);
    anomalyd_close(client);
}

static void one_request_is_in_flight_at_most(void)
{
    anomalyd_client *client = open_at(server.endpoint, 3000, ANOMALYD_FAIL_CLOSED);
    anomalyd_verdict verdict;
    double begin = check_now_ms();
    CHECK_STATUS(anomalyd_submit(client, 7, "/late/300"), ANOMALYD_OK);
    CHECK_STATUS(anomalyd_submit(client, 8, "/ok"), ANOMALYD_BUSY);
    CHECK_STATUS(anomalyd_classify(client, 8, "/ok", &verdict), ANOMALYD_BUSY);
    CHECK(verdict.step == 8 && verdict.label == ANOMALYD_UNKNOWN && verdict.status == ANOMALYD_BUSY);
    CHECK_STATUS(anomalyd_rewind(client, 6), ANOMALYD_BUSY);
    CHECK_STATUS(anomalyd_label_step(client, 6, ANOMALYD_NORMAL), ANOMALYD_BUSY);
    CHECK_STATUS(anomalyd_ping(client), ANOMALYD_BUSY);
    CHECK_SAYS(anomalyd_last_error(client), "anomalyd_wait");
    CHECK_STATUS(anomalyd_poll(client, &verdict), ANOMALYD_BUSY);
    CHECK(verdict.step == 7 && verdict.label == ANOMALYD_UNKNOWN && isnan(verdict.score) && verdict.acted == 0);
    CHECK(check_now_ms() - begin < 250); /* none of these waited */
    CHECK_STATUS(anomalyd_wait(client, &verdict), ANOMALYD_OK);
    CHECK(verdict.step == 7 && verdict.label == ANOMALYD_NORMAL && verdict.acted == 0);
    CHECK(check_now_ms() - begin >= 290);
    CHECK_STATUS(anomalyd_wait(client, &verdict), ANOMALYD_INVALID); /* a verdict is fetched once */
    anomalyd_close(client);
}

/* Frames 8 and later of an echoed request, in hex. */
static int sent_option(anomalyd_client *client, const char *hex)
{
    return strstr(anomalyd_detail(client, NULL), hex) != NULL;
}

static void a_stream_is_named_for_the_calls_that_follow(void)
{
    static const char density[] = "\"73747265616d3d64656e73697479\""; /* stream=density */
    static const char any[] = "73747265616d";
    anomalyd_client *client = open_at(server.endpoint, 3000, ANOMALYD_FAIL_OPEN);
    anomalyd_verdict verdict;
    CHECK_STATUS(anomalyd_classify(client, 1, "/echo", &verdict), ANOMALYD_OK);
    CHECK(!sent_option(client, any));
    CHECK_STATUS(anomalyd_set_stream(client, "density"), ANOMALYD_OK);
    CHECK_STATUS(anomalyd_submit(client, 1, "/echo"), ANOMALYD_OK);
    CHECK_STATUS(anomalyd_set_stream(client, "velocity"), ANOMALYD_OK); /* of the next request */
    CHECK_STATUS(anomalyd_wait(client, &verdict), ANOMALYD_OK);
    CHECK(sent_option(client, density));
    CHECK_STATUS(anomalyd_set_stream(client, "density"), ANOMALYD_OK);
    CHECK_STATUS(anomalyd_label_step(client, 1, ANOMALYD_NORMAL), ANOMALYD_OK);
    CHECK(sent_option(client, density));
    CHECK_STATUS(anomalyd_rewind(client, 1), ANOMALYD_OK);
    CHECK(!sent_option(client, any));
    CHECK_STATUS(anomalyd_set_stream(client, ""), ANOMALYD_OK);
    CHECK_STATUS(anomalyd_classify(client, 2, "/echo", &verdict), ANOMALYD_OK);
    CHECK(!sent_option(client, any));
    anomalyd_close(client);
}

static void polling_ends_with_the_verdict(void)
{
    anomalyd_client *client = open_at(server.endpoint, 3000, ANOMALYD_FAIL_OPEN);
    anomalyd_verdict verdict;
    anomalyd_status status;
    int n_polls = 0;
    CHECK_STATUS(anomalyd_submit(client, -5, "/late/100/anomalous"), ANOMALYD_OK);
    while ((status = anomalyd_poll(client, &verdict)) == ANOMALYD_BUSY) {
        ++n_polls;
        (void)usleep(2000);
    }
    CHECK_STATUS(status, ANOMALYD_OK);
    CHECK(verdict.step == -5 && verdict.label == ANOMALYD_ANOMALOUS && verdict.acted == 1);
    CHECK(n_polls > 5);
    anomalyd_close(client);
}

static void verdict_that_came_in_time_is_kept_however_late_it_is_fetched(void)
{
    anomalyd_client *client = open_at(server.endpoint, 200, ANOMALYD_FAIL_OPEN);
    anomalyd_verdict verdict;
    CHECK_STATUS(anomalyd_submit(client, 1, "/ok"), ANOMALYD_OK);
    (void)usleep(400000);
    CHECK_STATUS(anomalyd_wait(client, &verdict), ANOMALYD_OK);
    CHECK(verdict.label == ANOMALYD_NORMAL);
    anomalyd_close(client);
}

static void verdict_that_never_came_is_a_timeout_counted_from_submit(void)
{
    anomalyd_client *client = open_at(server.endpoint, 300, ANOMALYD_FAIL_CLOSED);
    anomalyd_verdict verdict;
    double begin = check_now_ms();
    CHECK_STATUS(anomalyd_submit(client, 1, "/silent"), ANOMALYD_OK);
    (void)usleep(150000);
    CHECK_STATUS(anomalyd_wait(client, &verdict), ANOMALYD_TIMEOUT);
    CHECK(check_now_ms() - begin < 400 && verdict.acted == 1);
    CHECK_STATUS(anomalyd_submit(client, 1, "/silent"), ANOMALYD_OK);
    (void)usleep(350000);
    CHECK_STATUS(anomalyd_poll(client, &verdict), ANOMALYD_TIMEOUT); /* not busy for ever */
    CHECK_STATUS(anomalyd_classify(client, 2, "/ok", &verdict), ANOMALYD_OK);
    anomalyd_close(client);
}

static void failed_submit_is_told_by_the_verdict_too(void)
{
    anomalyd_client *client = open_at("ipc:///tmp/anomalyd-nobody.sock", 100, ANOMALYD_FAIL_CLOSED);
    anomalyd_verdict verdict;
    CHECK_STATUS(anomalyd_submit(client, 9, "/ok"), ANOMALYD_UNAVAILABLE);
    CHECK_STATUS(anomalyd_wait(client, &verdict), ANOMALYD_UNAVAILABLE);
    CHECK(verdict.step == 9 && verdict.acted == 1 && verdict.label == ANOMALYD_UNKNOWN);
    CHECK_SAYS(anomalyd_last_error(client), "no daemon answers");
    CHECK_STATUS(anomalyd_wait(client, &verdict), ANOMALYD_INVALID);
    CHECK_STATUS(anomalyd_submit(client, 10, ""), ANOMALYD_INVALID);
    CHECK_STATUS(anomalyd_poll(client, &verdict), ANOMALYD_INVALID);
    CHECK(verdict.step == 10);
    anomalyd_close(client);
}

static void daemon_that_dies_meanwhile_is_unavailable(void)
{
    const char *const nothing[] = {NULL};
    anomalyd_client *client;
    anomalyd_verdict verdict;
    anomalyd_status status;
    peer mortal;
    peer_start(&mortal, nothing);
    client = open_at(mortal.endpoint, 600, ANOMALYD_FAIL_OPEN);
    CHECK_STATUS(anomalyd_submit(client, 9, "/late/300"), ANOMALYD_OK);
    peer_kill(&mortal);
    while ((status = anomalyd_poll(client, &verdict)) == ANOMALYD_BUSY)
        (void)usleep(5000);
    CHECK_STATUS(status, ANOMALYD_UNAVAILABLE);
    anomalyd_close(client);
}

static void stopped_daemon_does_not_delay_poll_or_submit(void)
{
    anomalyd_client *client = open_at(server.endpoint, 2000, ANOMALYD_FAIL_OPEN);
    anomalyd_verdict verdict;
    double begin;
    int round;
    CHECK_STATUS(anomalyd_ping(client), ANOMALYD_OK); /* connected */
    peer_signal(&server, SIGSTOP);
    begin = check_now_ms();
    CHECK_STATUS(anomalyd_submit(client, 1, "/ok"), ANOMALYD_OK);
    for (round = 0; round < 100; ++round)
        CHECK_STATUS(anomalyd_poll(client, &verdict), ANOMALYD_BUSY);
    CHECK(check_now_ms() - begin < 200);
    peer_signal(&server, SIGCONT);
    CHECK_STATUS(anomalyd_wait(client, &verdict), ANOMALYD_OK);
    anomalyd_close(client);
}

int main(void)
{
    const char *const nothing[] = {NULL};
    peer_start(&server, nothing);
    RUN(nothing_in_flight_is_invalid);
    RUN(one_request_is_in_flight_at_most);
    RUN(a_stream_is_named_for_the_calls_that_follow);
    RUN(polling_ends_with_the_verdict);
    RUN(verdict_that_came_in_time_is_kept_however_late_it_is_fetched);
    RUN(verdict_that_never_came_is_a_timeout_counted_from_submit);
    RUN(failed_submit_is_told_by_the_verdict_too);
    RUN(daemon_that_dies_meanwhile_is_unavailable);
    RUN(stopped_daemon_does_not_delay_poll_or_submit);
    peer_kill(&server);
    return check_result();
}
