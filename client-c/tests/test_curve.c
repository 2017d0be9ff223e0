/* CURVE: who has the keys is answered, who has not is told that the handshake was refused. */
#define _DEFAULT_SOURCE
#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <zmq.h>

static peer server;

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
    peer_kill(&server);
    return check_result();
}
