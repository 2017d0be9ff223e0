/* CURVE: who has the keys is answered, who has not is told that the handshake was refused. */
#define _DEFAULT_SOURCE
#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <zmq.h>

static peer server;
static char server_public_key[41];

static void write_certificate(const char *name, const char *public_key, const char *secret_key)
{
    char text[512], path[256];
    (void)snprintf(path, sizeof path, "%s", check_path(name));
    (void)snprintf(text, sizeof text, "metadata\ncurve\n    public-key = \"%s\"\n", public_key);
    if (secret_key != NULL)
        (void)snprintf(text, sizeof text, "metadata\ncurve\n    public-key = \"%s\"\n    secret-key = \"%s\"\n",
                       public_key, secret_key);
    check_write(path, text);
    (void)chmod(path, 0600);
}

static void make_certificates(void)
{
    char public_key[41], secret_key[41];
    (void)mkdir(check_path("clients"), 0700);
    (void)zmq_curve_keypair(public_key, secret_key);
    memcpy(server_public_key, public_key, sizeof server_public_key);
    write_certificate("server.key", public_key, NULL);
    write_certificate("server.key_secret", public_key, secret_key);
    (void)zmq_curve_keypair(public_key, secret_key);
    write_certificate("clients/friend.key", public_key, NULL);
    write_certificate("friend.key_secret", public_key, secret_key);
    (void)zmq_curve_keypair(public_key, secret_key);
    write_certificate("stranger.key_secret", public_key, secret_key);
    write_certificate("other-server.key", public_key, NULL);
}

static void expect(const char *client_keys, const char *server_key, anomalyd_status status)
{
    anomalyd_options options = ANOMALYD_OPTIONS_INIT;
    anomalyd_client *client;
    double begin;
    options.endpoint = server.endpoint;
    options.run = "run_a";
    options.timeout_ms = 1500;
    options.connect_timeout_ms = 300;
    options.client_key_file = client_keys == NULL ? NULL : check_path(client_keys);
    options.server_key_file = server_key == NULL ? NULL : check_path(server_key);
    CHECK_STATUS(anomalyd_open(&options, &client), ANOMALYD_OK);
    begin = check_now_ms();
    CHECK_STATUS(anomalyd_ping(client), status);
    CHECK(check_now_ms() - begin < 1500 + SLACK_MS);
    if (status != ANOMALYD_OK)
        CHECK_SAYS(anomalyd_last_error(client), "CURVE");
    anomalyd_close(client);
}

static void allowed_client_is_answered(void)
{
    expect("friend.key_secret", "server.key", ANOMALYD_OK);
}

static void strangers_are_unavailable(void)
{
    expect("stranger.key_secret", "server.key", ANOMALYD_UNAVAILABLE);
    expect(NULL, "server.key", ANOMALYD_UNAVAILABLE);
    expect(NULL, NULL, ANOMALYD_UNAVAILABLE);
    expect("friend.key_secret", "other-server.key", ANOMALYD_UNAVAILABLE);
}

static void any_client_is_answered_where_any_is_allowed(void)
{
    expect(NULL, "server.key", ANOMALYD_OK);
    expect("stranger.key_secret", "server.key", ANOMALYD_OK);
}

/* What a client given this endpoint alone says of the daemon; words of the failure to open it, if it cannot be opened.
 */
static void expect_at(const char *endpoint, anomalyd_status status, const char *words)
{
    anomalyd_options options = ANOMALYD_OPTIONS_INIT;
    anomalyd_client *client;
    options.endpoint = endpoint;
    options.connect_timeout_ms = 300;
    if (words != NULL) {
        CHECK_STATUS(anomalyd_open(&options, &client), status);
        CHECK_SAYS(anomalyd_last_error(NULL), words);
        return;
    }
    CHECK_STATUS(anomalyd_open(&options, &client), ANOMALYD_OK);
    CHECK_STATUS(anomalyd_ping(client), status);
    anomalyd_close(client);
}

static void key_may_stand_behind_the_endpoint(void)
{
    char endpoint[ANOMALYD_MAX_ENDPOINT + 200];
    (void)snprintf(endpoint, sizeof endpoint, "%s?server_public_key=%s", server.endpoint, server_public_key);
    expect_at(endpoint, ANOMALYD_OK, NULL);
    (void)setenv("ANOMALYD_ENDPOINT", endpoint, 1);
    expect_at(NULL, ANOMALYD_OK, NULL);
    expect_at(server.endpoint, ANOMALYD_UNAVAILABLE, NULL);
    endpoint[strlen(endpoint) - 1] = '\0';
    expect_at(endpoint, ANOMALYD_INVALID, "has 39 characters, expected 40");
    (void)snprintf(endpoint, sizeof endpoint, "tcp://*:5?server_public_key=%s", server_public_key);
    expect_at(endpoint, ANOMALYD_INVALID, "a client needs a host");
    memset(endpoint, 'x', sizeof endpoint);
    memcpy(endpoint, "tcp://", 6);
    (void)snprintf(endpoint + 600, 100, ":5?server_public_key=%s", server_public_key);
    expect_at(endpoint, ANOMALYD_INVALID, "the limit is 511");
}

int main(void)
{
    const char *const listed[] = {"--curve", check_directory(), NULL};
    const char *const any[] = {"--curve", check_directory(), "--any-client", NULL};
    if (zmq_has("curve") == 0) {
        (void)fprintf(stderr, "SKIPPED: this libzmq was built without CURVE\n");
        return 77;
    }
    make_certificates();
    peer_start(&server, listed);
    RUN(allowed_client_is_answered);
    RUN(strangers_are_unavailable);
    peer_kill(&server);
    peer_start(&server, any);
    RUN(any_client_is_answered_where_any_is_allowed);
    RUN(key_may_stand_behind_the_endpoint);
    peer_kill(&server);
    return check_result();
}
