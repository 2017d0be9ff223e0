/* One attempt to reach the daemon; see connection.h. */
#include "connection.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <zmq.h>

/* A reply is a few hundred bytes and a heat map; libzmq drops the connection of a peer that announces more than this.
 */
#define MAX_MESSAGE_BYTES (INT64_C(64) << 20)

#define EVENTS                                                                                                         \
    (ZMQ_EVENT_CONNECTED | ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_CLOSED |                 \
     ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH)

static bool set_int(void *socket, int option, int value)
{
    return zmq_setsockopt(socket, option, &value, sizeof value) == 0;
}

static bool set_options(void *socket, const char *address)
{
    int64_t most = MAX_MESSAGE_BYTES;
    /* RELAXED with CORRELATE as PROTOCOL.md 12.2 wants; no reconnecting behind our back, since the endpoint file has to
     * be read again first. */
    return set_int(socket, ZMQ_LINGER, 0) && set_int(socket, ZMQ_IMMEDIATE, 1) && set_int(socket, ZMQ_REQ_RELAXED, 1) &&
           set_int(socket, ZMQ_REQ_CORRELATE, 1) && set_int(socket, ZMQ_RECONNECT_IVL, -1) &&
           set_int(socket, ZMQ_IPV6, strchr(address, '[') != NULL) &&
           zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &most, sizeof most) == 0;
}

static bool set_keys(void *socket, const char *server_key, const anomalyd_keys *keys)
{
    return zmq_setsockopt(socket, ZMQ_CURVE_SERVERKEY, server_key, ANOMALYD_KEY_SIZE) == 0 &&
           zmq_setsockopt(socket, ZMQ_CURVE_PUBLICKEY, keys->public_key, ANOMALYD_KEY_SIZE) == 0 &&
           zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, keys->secret_key, ANOMALYD_KEY_SIZE) == 0;
}

static bool open_monitor(anomalyd_connection *connection, void *context)
{
    char name[64];
    (void)snprintf(name, sizeof name, "inproc://anomalyd-%u", connection->n_opened);
    if (zmq_socket_monitor(connection->socket, name, EVENTS) != 0)
        return false;
    connection->monitor = zmq_socket(context, ZMQ_PAIR);
    /* No high-water mark: libzmq's thread must never wait for us to read events. One attempt makes a handful. */
    return connection->monitor != NULL && set_int(connection->monitor, ZMQ_LINGER, 0) &&
           set_int(connection->monitor, ZMQ_RCVHWM, 0) && zmq_connect(connection->monitor, name) == 0;
}

anomalyd_status anomalyd_connection_open(anomalyd_connection *connection, void *context,
                                         const anomalyd_endpoint *endpoint, const anomalyd_keys *keys,
                                         anomalyd_problem *problem)
{
    const char *server_key = keys->server[0] != '\0' ? keys->server : endpoint->server_key;
    int failure;

    anomalyd_connection_close(connection);
    ++connection->n_opened;
    connection->reach = ANOMALYD_REACH_NONE;
    connection->was_ready = false;
    memcpy(connection->address, endpoint->address, sizeof connection->address);

    connection->socket = zmq_socket(context, ZMQ_REQ);
    if (connection->socket == NULL)
        return anomalyd_problem_set(problem, ANOMALYD_SYSTEM, "no socket could be made: %s", zmq_strerror(zmq_errno()));
    if (set_options(connection->socket, endpoint->address) &&
        (*server_key == '\0' || set_keys(connection->socket, server_key, keys)) && open_monitor(connection, context) &&
        zmq_connect(connection->socket, endpoint->address) == 0)
        return ANOMALYD_OK;
    failure = zmq_errno();
    anomalyd_connection_close(connection);
    return anomalyd_problem_set(problem, failure == EINVAL ? ANOMALYD_INVALID : ANOMALYD_SYSTEM,
                                "endpoint %s cannot be used: %s", endpoint->address, zmq_strerror(failure));
}

void anomalyd_connection_close(anomalyd_connection *connection)
{
    if (connection->monitor != NULL) {
        (void)zmq_socket_monitor(connection->socket, NULL, 0);
        (void)zmq_close(connection->monitor);
        connection->monitor = NULL;
    }
    if (connection->socket != NULL) {
        (void)zmq_close(connection->socket);
        connection->socket = NULL;
    }
    connection->reach = ANOMALYD_REACH_NONE;
}

static void take_event(anomalyd_connection *connection, unsigned event)
{
    switch (event) {
    case ZMQ_EVENT_CONNECTED:
        if (connection->reach == ANOMALYD_REACH_NONE)
            connection->reach = ANOMALYD_REACH_TRANSPORT;
        break;
    case ZMQ_EVENT_HANDSHAKE_SUCCEEDED:
        if (connection->reach != ANOMALYD_REACH_LOST)
            connection->reach = ANOMALYD_REACH_READY;
        connection->was_ready = true;
        connection->handshake_refused = false;
        break;
    case ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL:
    case ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL:
    case ZMQ_EVENT_HANDSHAKE_FAILED_AUTH:
        connection->handshake_refused = true;
        connection->reach = ANOMALYD_REACH_LOST;
        break;
    default: /* disconnected, or closed before it was connected */
        if (connection->reach == ANOMALYD_REACH_TRANSPORT)
            connection->handshake_refused = true;
        connection->reach = ANOMALYD_REACH_LOST;
        break;
    }
}

void anomalyd_connection_watch(anomalyd_connection *connection)
{
    if (connection->monitor == NULL)
        return;
    for (;;) {
        /* An event has two frames: 16 bits of number and 32 of value; the address. */
        unsigned char frame[6];
        char address[ANOMALYD_MAX_ENDPOINT + 1];
        uint16_t event;
        int size = zmq_recv(connection->monitor, frame, sizeof frame, ZMQ_DONTWAIT);
        if (size < 0 && zmq_errno() == EINTR)
            continue;
        if (size < (int)sizeof event)
            return;
        memcpy(&event, frame, sizeof event);
        while (zmq_recv(connection->monitor, address, sizeof address, ZMQ_DONTWAIT) < 0 && zmq_errno() == EINTR) {
        }
        take_event(connection, event);
    }
}
