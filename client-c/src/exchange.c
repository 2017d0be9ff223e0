/* One request and its reply; see exchange.h. */
#include "exchange.h"
#include "clock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* The pause before another attempt doubles from the first to the last. */
#define FIRST_PAUSE_NS (10 * ANOMALYD_NS_PER_MS)
#define LAST_PAUSE_NS (200 * ANOMALYD_NS_PER_MS)
/* libzmq takes its time-outs in long milliseconds; a longer wait is simply made of several. */
#define LONGEST_POLL_MS 60000

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Ends the request. A socket with which something went wrong is never used again: its late reply would come by it. */
static anomalyd_status finish(anomalyd_client *client, anomalyd_status status, bool keep_connection)
{
    client->exchange.in_flight = false;
    client->exchange.sent = false;
    if (!keep_connection)
        anomalyd_connection_close(&client->connection);
    return status;
}

/* Puts the next attempt off a little, so that a daemon that fails at once is not hammered. */
static void pause_before_retry(anomalyd_exchange *exchange, int64_t now)
{
    exchange->retry_at_ns = now + exchange->retry_pause_ns;
    exchange->retry_pause_ns = earlier(2 * exchange->retry_pause_ns, LAST_PAUSE_NS);
}

/* Closes a lost connection; the request will be repeated with the same id over another. */
static void lose_connection(anomalyd_client *client, int64_t now)
{
    anomalyd_exchange *exchange = &client->exchange;
    if (client->connection.was_ready)
        exchange->unconnected_since_ns = now;
    anomalyd_connection_close(&client->connection);
    exchange->sent = false;
    pause_before_retry(exchange, now);
}

static anomalyd_status open_connection(anomalyd_client *client, anomalyd_problem *problem, bool *may_change)
{
    anomalyd_endpoint endpoint;
    anomalyd_status status = anomalyd_endpoint_resolve(client->endpoint, &endpoint, problem);

    *may_change = endpoint.may_change;
    if (status == ANOMALYD_OK)
        status = anomalyd_connection_open(&client->connection, client->context, &endpoint, &client->keys, problem);
    return status;
}

void anomalyd_exchange_connect(anomalyd_client *client)
{
    anomalyd_problem ignored;
    bool may_change;
    if (client->connection.socket == NULL)
        (void)open_connection(client, &ignored, &may_change);
}

void anomalyd_exchange_begin(anomalyd_client *client, int64_t step)
{
    anomalyd_exchange *exchange = &client->exchange;
    int64_t now = anomalyd_clock_ns();

    (void)snprintf(exchange->request.id, sizeof exchange->request.id, "%s-%" PRIu64, client->nonce,
                   ++client->n_requests);
    exchange->request.step = step;
    memcpy(exchange->request.stream, client->stream, sizeof exchange->request.stream);
    exchange->in_flight = true;
    exchange->sent = false;
    exchange->deadline_ns = now + client->timeout_ns;
    exchange->unconnected_since_ns = now;
    exchange->retry_at_ns = now;
    exchange->retry_pause_ns = FIRST_PAUSE_NS;
    exchange->endpoint_failure = (anomalyd_status)0;
    client->connection.handshake_refused = false;
    anomalyd_reply_drop(&client->reply);
    client->detail_length = 0;
    client->text[0] = '\0';
}

void anomalyd_exchange_abandon(anomalyd_client *client)
{
    if (client->exchange.in_flight)
        (void)finish(client, ANOMALYD_INVALID, false);
}

/* The end of patience: tells a daemon that is not there from one that is slow. */
static anomalyd_status give_up(anomalyd_client *client, int64_t now)
{
    const anomalyd_exchange *exchange = &client->exchange;
    const anomalyd_connection *connection = &client->connection;
    anomalyd_reach reach = connection->socket == NULL ? ANOMALYD_REACH_NONE : connection->reach;
    long waited_ms = (long)((now - exchange->deadline_ns + client->timeout_ns) / ANOMALYD_NS_PER_MS);

    if (connection->socket == NULL && exchange->endpoint_failure != 0)
        return finish(client, exchange->endpoint_failure, false); /* its words stand already */
    if (reach == ANOMALYD_REACH_READY || reach == ANOMALYD_REACH_TRANSPORT)
        return finish(client,
                      anomalyd_problem_set(&client->problem, ANOMALYD_TIMEOUT,
                                           "the daemon at %s is there but did not "
                                           "answer within %ld ms; give it more time, or more workers",
                                           connection->address, waited_ms),
                      false);
    if (connection->handshake_refused)
        return finish(client,
                      anomalyd_problem_set(&client->problem, ANOMALYD_UNAVAILABLE,
                                           "%s refused the ZeroMQ handshake: is it "
                                           "an anomalyd daemon, and do the CURVE keys fit?",
                                           connection->address),
                      false);
    return finish(client,
                  anomalyd_problem_set(&client->problem, ANOMALYD_UNAVAILABLE,
                                       "no daemon answers at %s after %ld ms; is "
                                       "it running on that node?",
                                       connection->address, waited_ms),
                  false);
}

/* Makes a connection if there is none and its time has come. Returns ANOMALYD_OK unless the request has ended. */
static anomalyd_status ensure_connection(anomalyd_client *client, int64_t now)
{
    anomalyd_exchange *exchange = &client->exchange;
    anomalyd_status status;
    bool may_change;

    if (client->connection.socket != NULL || now < exchange->retry_at_ns)
        return ANOMALYD_OK;
    status = open_connection(client, &client->problem, &may_change);
    exchange->endpoint_failure = status == ANOMALYD_OK ? (anomalyd_status)0 : status;
    if (status == ANOMALYD_OK)
        return ANOMALYD_OK;
    if (!may_change)
        return finish(client, status, false);
    pause_before_retry(exchange, now); /* a daemon that is starting will write the file */
    return ANOMALYD_OK;
}

/* Sends the request if it can be. Returns false if the connection had to be given up. */
static bool try_to_send(anomalyd_client *client, int64_t now)
{
    anomalyd_exchange *exchange = &client->exchange;
    long left_ms;

    if (exchange->sent || client->connection.socket == NULL || now < exchange->retry_at_ns)
        return true;
    /* 0 would stand for the daemon's default. */
    left_ms = anomalyd_clock_ms_until(exchange->deadline_ns, ANOMALYD_MAX_TIMEOUT_MS);
    switch (anomalyd_request_send(&exchange->request, client->run, client->model, client->want_heatmap,
                                  left_ms > 0 ? left_ms : 1, client->connection.socket)) {
    case ANOMALYD_SENDING_DONE:
        exchange->sent = true;
        return true;
    case ANOMALYD_SENDING_AGAIN:
        return true;
    case ANOMALYD_SENDING_FAILURE:
        break;
    }
    lose_connection(client, now);
    return false;
}

/* Takes a reply if one is there. Returns ANOMALYD_BUSY while there is none for this request. */
static anomalyd_status try_to_receive(anomalyd_client *client, int64_t now, anomalyd_verdict *verdict)
{
    anomalyd_exchange *exchange = &client->exchange;
    anomalyd_expected expected;
    anomalyd_status status;

    if (!exchange->sent || client->connection.socket == NULL)
        return ANOMALYD_BUSY;
    switch (anomalyd_reply_receive(&client->reply, client->connection.socket)) {
    case ANOMALYD_RECEPTION_NONE:
        return ANOMALYD_BUSY;
    case ANOMALYD_RECEPTION_FAILURE:
        lose_connection(client, now);
        return ANOMALYD_BUSY;
    case ANOMALYD_RECEPTION_REPLY:
        break;
    }
    if (client->reply.n_frames >= 2 && !anomalyd_reply_is_for(&client->reply, exchange->request.id)) {
        /* Not ours. A REQ socket hears one reply for each request, so ask again under the same id and wait on. */
        anomalyd_reply_drop(&client->reply);
        exchange->sent = false;
        pause_before_retry(exchange, now);
        return ANOMALYD_BUSY;
    }
    expected.id = exchange->request.id;
    expected.has_step = exchange->request.command != ANOMALYD_COMMAND_PING;
    expected.step = exchange->request.step;
    status = anomalyd_reply_read(&client->reply, &expected, verdict, &client->problem);
    return finish(client, status, status != ANOMALYD_BAD_REPLY);
}

/* Sleeps until something can have happened, at most until `until_ns`. */
static void wait_for_news(anomalyd_client *client, int64_t now, int64_t until_ns)
{
    const anomalyd_exchange *exchange = &client->exchange;
    anomalyd_connection *connection = &client->connection;
    zmq_pollitem_t items[2];
    int n_items = 0;

    memset(items, 0, sizeof items);
    if (connection->monitor != NULL) {
        items[n_items].socket = connection->monitor;
        items[n_items++].events = ZMQ_POLLIN;
    }
    if (now < exchange->retry_at_ns && !exchange->sent)
        until_ns = earlier(until_ns, exchange->retry_at_ns);
    else if (connection->socket != NULL) {
        items[n_items].socket = connection->socket;
        items[n_items++].events = exchange->sent ? ZMQ_POLLIN : ZMQ_POLLOUT;
    }
    /* A signal ends the wait early; the caller looks at the clock again. */
    (void)zmq_poll(items, n_items, anomalyd_clock_ms_until(until_ns, LONGEST_POLL_MS));
}

anomalyd_status anomalyd_exchange_drive(anomalyd_client *client, anomalyd_patience patience, anomalyd_verdict *verdict)
{
    anomalyd_exchange *exchange = &client->exchange;
    anomalyd_connection *connection = &client->connection;

    for (;;) {
        int64_t now = anomalyd_clock_ns(), until_ns = exchange->deadline_ns;
        /* The reply first: it may have come in time though nobody looked until now, or just before the daemon ended. */
        anomalyd_status status = try_to_receive(client, now, verdict);
        if (status != ANOMALYD_BUSY)
            return status;
        anomalyd_connection_watch(connection);
        if (connection->socket != NULL && connection->reach == ANOMALYD_REACH_LOST)
            lose_connection(client, now);
        if (now >= exchange->deadline_ns)
            return give_up(client, now);
        if (connection->socket == NULL || connection->reach == ANOMALYD_REACH_NONE) {
            int64_t unavailable_ns = exchange->unconnected_since_ns + client->connect_timeout_ns;
            if (now >= unavailable_ns)
                return give_up(client, now);
            until_ns = earlier(until_ns, unavailable_ns);
        }
        status = ensure_connection(client, now);
        if (status != ANOMALYD_OK)
            return status;
        if (!try_to_send(client, now))
            continue;
        if (patience == ANOMALYD_NOT_AT_ALL || (patience == ANOMALYD_UNTIL_SENT && exchange->sent))
            return ANOMALYD_BUSY;
        wait_for_news(client, now, until_ns);
    }
}
